"""Holding the store's blobs in place from asyncio. The lock itself is the store's."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

from registry.home import Home
from registry.store.leases import shared


class _GivenUp(Exception):
    """Nobody waits for the lease any more."""


@contextlib.asynccontextmanager
async def blobs_held(home: Home) -> AsyncIterator[None]:
    """Keep garbage collection away; waits, without blocking others, until one that runs has ended."""
    unwanted = threading.Event()
    stack = contextlib.ExitStack()

    def check() -> None:
        if unwanted.is_set():
            raise _GivenUp

    taking = asyncio.create_task(asyncio.to_thread(stack.enter_context, shared(home, checkpoint=check)))
    try:
        await asyncio.shield(taking)
        yield
    finally:
        unwanted.set()
        with contextlib.suppress(_GivenUp):
            await taking
        stack.close()
