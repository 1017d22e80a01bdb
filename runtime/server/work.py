"""Long work in threads, for requests that tell of its progress: transfers and builds. What is done is the caller's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mlxbuild.registry.core import cancellation
from mlxbuild.runtime.residency.errors import ServerBusy
from mlxbuild.runtime.residency.setting_places import SettingPlaces

_SAMPLE_SECONDS = 0.1
_POLL_SECONDS = 0.02

Result = TypeVar("Result")


class Abandoned(Exception):
    """Raised in a work's thread when nobody waits for it any more."""


class Lanes:
    """How many pieces of long work a server does at once. Beside asyncio's own threads, which loads need."""

    def __init__(self, count: int, places: SettingPlaces | None = None) -> None:
        self.count = count
        self._places = places or SettingPlaces()
        self._running: set[threading.Thread] = set()

    def begin(self, run: Callable[[], None]) -> None:
        """Run something in a lane that is free. Call it from the event loop.

        Raises:
            ServerBusy: none is.
        """
        self._running = {thread for thread in self._running if thread.is_alive()}
        if len(self._running) >= self.count:
            raise ServerBusy(
                f"the server is busy with {self.count} pulls, pushes and builds",
                hint=f"try again later, or raise `serve.max_transfers` {self._places.of('max_transfers')}, "
                f"now {self.count}",
            )
        # Not an executor: its threads are waited for at the end of the process, whatever they are at.
        thread = threading.Thread(target=run, name="work", daemon=True)
        self._running.add(thread)
        thread.start()

    async def ended(self, seconds: float) -> None:
        """Wait until no lane is taken, but no longer than that."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while any(thread.is_alive() for thread in self._running) and loop.time() < ends:
            await asyncio.sleep(_POLL_SECONDS)


class Work(Generic[Result]):
    """One piece of long work, from the beginning to the end of an `async with` statement; leaving it early ends it."""

    def __init__(self, lanes: Lanes, do: Callable[[], Result], news: Callable[[], list[dict[str, Any]]]) -> None:
        """`do` blocks, in a thread that `checkpoint` cancels where it waits; `news` gives what is new to tell."""
        self._lanes, self._do, self._news = lanes, do, news
        self._is_abandoned = threading.Event()
        self._outcome: Future[Result] = Future()
        self.result: Result

    def checkpoint(self) -> None:
        """For the thread.

        Raises:
            Abandoned: it is to end.
        """
        if self._is_abandoned.is_set():
            raise Abandoned

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            ServerBusy: too much else is being done.
        """
        self._lanes.begin(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_abandoned.set()

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """What there is to tell, as it comes, until it is done. Afterwards `result` is there.

        Raises:
            Exception: whatever the work raises.
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
            outcome.cancel()  # it is not told any more, be it that the loop has ended

    def _run(self) -> None:
        self._outcome.set_running_or_notify_cancel()
        try:
            with cancellation.cancelled_by(self.checkpoint):
                result = self._do()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(result)


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
