"""Runs a real server on a free port of this process, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sanic import Sanic

from mlxbuild.runtime.server.connections.observation import RequestOutcome
from mlxbuild.runtime.server.listening import listen
from mlxbuild.runtime.server.serving import serve


@dataclass
class RunningServer:
    """A server that listens."""

    port: int
    loop: asyncio.AbstractEventLoop
    stop_event: asyncio.Event
    thread: threading.Thread
    observed: list[RequestOutcome] = field(default_factory=list)
    """Every request that ended."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.loop.call_soon_threadsafe(self.stop_event.set)
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()


@contextmanager
def running(app: Sanic[Any, Any], *, grace_seconds: float = 1.0, closes: bool = True) -> Iterator[RunningServer]:
    """Serve until the end of the `with` statement; `closes` ends the models, too."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    begun = threading.Event()
    started: list[RunningServer] = []

    async def main() -> None:
        stop = asyncio.Event()
        server = RunningServer(port, asyncio.get_running_loop(), stop, thread)
        app.ctx.observers.append(server.observed.append)
        started.append(server)
        asyncio.get_running_loop().call_soon(begun.set)
        try:
            await serve(app, listening, stop, grace_seconds=grace_seconds)
        finally:
            if closes and (residency := app.ctx.application.residency) is not None:
                await residency.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="server", daemon=True)
    thread.start()
    assert begun.wait(timeout=30)
    try:
        yield started[0]
    finally:
        if thread.is_alive():
            started[0].stop()


def soon(holds: Callable[[], bool]) -> None:
    """Wait until something holds that is brought about elsewhere."""
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to hold")
