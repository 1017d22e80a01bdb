"""Runs long work, such as transfers and builds, in threads, for requests that stream its progress."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mlxbuild.registry.core import cancellation
from mlxbuild.runtime.residency.errors import ServerBusy
from mlxbuild.runtime.residency.setting_origins import SettingOrigins

_SAMPLE_SECONDS = 0.1
_POLL_SECONDS = 0.02

Result = TypeVar("Result")


class TaskCancelled(Exception):
    """Raised in the thread of work that was cancelled because nobody waits for it any more."""


class TaskThreads:
    """The threads for long work, whose number is limited; asyncio's own threads are left to model loads."""

    def __init__(self, count: int, places: SettingOrigins | None = None) -> None:
        self.count = count
        self._places = places or SettingOrigins()
        self._running: set[threading.Thread] = set()

    def begin(self, run: Callable[[], None]) -> None:
        """Run a function in a free thread. Call it from the event loop.

        Raises:
            ServerBusy: no thread is free.
        """
        self._running = {thread for thread in self._running if thread.is_alive()}
        if len(self._running) >= self.count:
            raise ServerBusy(
                f"the server is busy with {self.count} pulls, pushes and builds",
                hint=f"try again later, or raise `serve.max_transfers` {self._places.of('max_transfers')}, "
                f"now {self.count}",
            )
        # Not an executor, as the end of the process would wait for its threads.
        thread = threading.Thread(target=run, name="work", daemon=True)
        self._running.add(thread)
        thread.start()

    async def ended(self, seconds: float) -> None:
        """Wait until all threads are free, for at most `seconds`."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while any(thread.is_alive() for thread in self._running) and loop.time() < ends:
            await asyncio.sleep(_POLL_SECONDS)


class LongTask(Generic[Result]):
    """One piece of long work, which runs during an `async with` statement; leaving it early cancels the work."""

    def __init__(
        self, threads: TaskThreads, do: Callable[[], Result], news: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """`do` runs in a thread, and is cancelled by `checkpoint`; `news` returns the progress since its last call."""
        self._threads, self._do, self._news = threads, do, news
        self._is_abandoned = threading.Event()
        self._outcome: Future[Result] = Future()
        self.result: Result

    def checkpoint(self) -> None:
        """Check in the thread whether to go on.

        Raises:
            Abandoned: the work was cancelled.
        """
        if self._is_abandoned.is_set():
            raise TaskCancelled

    async def __aenter__(self) -> Self:
        """Start the work.

        Raises:
            ServerBusy: no thread is free.
        """
        self._threads.begin(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_abandoned.set()

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Stream the progress until the work is done; afterwards `result` is set.

        Raises:
            Exception: any error of the work.
        """
        outcome = asyncio.wrap_future(self._outcome)
        try:
            is_done = False
            while not is_done:
                await asyncio.wait({outcome}, timeout=_SAMPLE_SECONDS)
                is_done = outcome.done()
                for told in self._news():
                    yield told
            self.result = outcome.result()
        finally:
            outcome.cancel()  # so that the thread does not notify a loop that may have ended

    def _run(self) -> None:
        self._outcome.set_running_or_notify_cancel()
        try:
            with cancellation.cancelled_by(self.checkpoint):
                result = self._do()
        except BaseException as error:  # noqa: BLE001 - raised again in `progress`
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(result)


async def in_thread(do: Callable[[], Result]) -> Result:
    """Run something short in a thread; a cancellation waits for its end, as it may still use its arguments."""
    doing = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        _forget(doing)
        raise


def _forget(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of abandoned work, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()
