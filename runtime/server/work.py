"""Long work in threads, for requests that tell of its progress: transfers and builds. What is done is the caller's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

_SAMPLE_SECONDS = 0.1
_THREADS = 16
"""Works at once in a server; more wait. Beside asyncio's own threads, which loads need."""
_threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="work")

Result = TypeVar("Result")


class Abandoned(Exception):
    """Raised in a work's thread when nobody waits for it any more."""


class Work(Generic[Result]):
    """One piece of long work."""

    def __init__(self, do: Callable[[], Result], news: Callable[[], list[dict[str, Any]]]) -> None:
        """`do` blocks, in a thread, and calls `checkpoint` often; `news` gives what is new to tell."""
        self._do, self._news = do, news
        self._is_abandoned = threading.Event()
        self.result: Result

    def checkpoint(self) -> None:
        """For the thread.

        Raises:
            Abandoned: it is to end.
        """
        if self._is_abandoned.is_set():
            raise Abandoned

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Do it; what there is to tell, as it comes. Afterwards `result` is there. Closing the iterator abandons it.

        Raises:
            Exception: whatever the work raises.
        """
        future = asyncio.get_running_loop().run_in_executor(_threads, self._do)
        try:
            is_done = False
            while not is_done:
                await asyncio.wait({future}, timeout=_SAMPLE_SECONDS)
                is_done = future.done()
                for told in self._news():
                    yield told
            self.result = future.result()
        finally:
            self._is_abandoned.set()
            if not future.done():
                future.add_done_callback(_forget)


async def in_thread(do: Callable[[], Result]) -> Result:
    """Do something short in a thread; a cancellation waits for its end, so that nothing is taken away under it."""
    doing = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        _forget(doing)
        raise


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of an abandoned work's error, which nobody else does."""
    if not future.cancelled():
        future.exception()
