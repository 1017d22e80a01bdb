"""The events of one request as an iterator, synchronous or asynchronous. Closing it cancels the request."""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.protocol.events import Event, Failure, is_last
from mlxbuild.runtime.protocol.failures import as_error


class Stream(Iterator[Event]):
    """Events for synchronous code; `next` blocks. A failure is raised as its error."""

    def __init__(self, engine: Engine, prepared: Prepared) -> None:
        """Submit the request.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        self._told: queue.SimpleQueue[Sequence[Event]] = queue.SimpleQueue()
        self._events: deque[Event] = deque()
        self._is_over = False
        self._engine = engine
        self._ticket = engine.submit(prepared, self._told.put)

    def __next__(self) -> Event:
        if not self._events:
            if self._is_over:
                raise StopIteration
            self._events.extend(self._told.get())
        event = self._events.popleft()
        self._is_over = self._is_over or is_last(event)
        if isinstance(event, Failure):
            raise as_error(event)
        return event

    def close(self) -> None:
        """Cancel the request."""
        if not self._is_over:
            self._is_over = True
            self._engine.cancel(self._ticket)

    def __del__(self) -> None:
        if hasattr(self, "_ticket"):
            self.close()


class AsyncStream(AsyncIterator[Event]):
    """Events for a coroutine. A failure is raised as its error."""

    def __init__(self, engine: Engine, prepared: Prepared) -> None:
        """Submit the request. To be created on the event loop that reads the events.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        told: asyncio.Queue[Sequence[Event]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._told = told
        self._events: deque[Event] = deque()
        self._is_over = False
        self._engine = engine
        self._ticket = engine.submit(prepared, lambda events: _put(loop, told, events))

    async def __anext__(self) -> Event:
        if not self._events:
            if self._is_over:
                raise StopAsyncIteration
            try:
                self._events.extend(await self._told.get())
            except asyncio.CancelledError:
                await self.aclose()
                raise
        event = self._events.popleft()
        self._is_over = self._is_over or is_last(event)
        if isinstance(event, Failure):
            raise as_error(event)
        return event

    async def aclose(self) -> None:
        """Cancel the request."""
        if not self._is_over:
            self._is_over = True
            self._engine.cancel(self._ticket)

    def __del__(self) -> None:
        if hasattr(self, "_ticket") and not self._is_over:
            self._engine.cancel(self._ticket)


def _put(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[Sequence[Event]], events: Sequence[Event]) -> None:
    """Deliver events to the event loop. Fails if the loop is closed, which cancels the request."""
    loop.call_soon_threadsafe(told.put_nowait, events)
