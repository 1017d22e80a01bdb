"""Takes the store's lease from asyncio, so that garbage collection removes no blobs meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.leases import shared
from mlxbuild.runtime.residency.checkpoint import Checkpoint, NobodyWaits

_waiting = ThreadPoolExecutor(max_workers=64, thread_name_prefix="lease")
"""Threads that only wait for leases: a garbage collection may take long, and must not block other work."""


@contextlib.asynccontextmanager
async def blobs_held(home: Home) -> AsyncIterator[None]:
    """Prevent garbage collection; first waits, without blocking the loop, until a running one has ended."""
    checkpoint = Checkpoint()
    stack = contextlib.ExitStack()
    take = functools.partial(stack.enter_context, shared(home, checkpoint=checkpoint))
    taking = asyncio.get_running_loop().run_in_executor(_waiting, take)
    try:
        await asyncio.shield(taking)
        yield
    finally:
        checkpoint.give_up()
        with contextlib.suppress(NobodyWaits):
            await taking
        stack.close()
