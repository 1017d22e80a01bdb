"""Holding the store's blobs in place from asyncio. The lock itself is the store's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from registry.home import Home
from registry.store.leases import shared
from runtime.scheduler.checkpoint import Checkpoint, GivenUp


@contextlib.asynccontextmanager
async def blobs_held(home: Home) -> AsyncIterator[None]:
    """Keep garbage collection away; waits, without blocking others, until one that runs has ended."""
    checkpoint = Checkpoint()
    stack = contextlib.ExitStack()
    taking = asyncio.create_task(asyncio.to_thread(stack.enter_context, shared(home, checkpoint=checkpoint)))
    try:
        await asyncio.shield(taking)
        yield
    finally:
        checkpoint.give_up()
        with contextlib.suppress(GivenUp):
            await taking
        stack.close()
