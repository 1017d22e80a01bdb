"""What a server says and does between the wish that it ends and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
from sanic import Request
from sanic.response import HTTPResponse, raw, text

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.operations.api import OPERATIONS
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.routing.api import Api
from mlxbuild.runtime.server.routing.route import Route
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.connections.wire import answers, connect, until_closed
from tests.runtime.server.running import RunningServer, running, soon

LARGE = 50_000_000
"""More bytes than the system takes of an answer that nobody reads."""


class Stopping:
    """A server whose long answers end when they are released."""

    def __init__(self, home: Home) -> None:
        self.released = asyncio.Event()
        application = Application(home, Store.open(home), ServerSettings(), None, None, "0.1.0")  # type: ignore[arg-type]
        self.app = create_app(application, [Api("Trial", ("",), NATIVE_FORMAT, self._routes()), OPERATIONS])
        self.server: RunningServer

    def _routes(self) -> tuple[Route, ...]:
        async def long(_request: Request) -> HTTPResponse:
            await self.released.wait()
            return text("done")

        async def root(_request: Request) -> HTTPResponse:
            is_waited_for = asyncio.current_task() in self.app.ctx.running
            return text("waited for" if is_waited_for else "not waited for")

        async def large(_request: Request) -> HTTPResponse:
            return raw(bytes(LARGE))

        return (
            Route("GET", "/long", long, "Answer when released", {}),
            Route("POST", "/long", long, "Answer when released", {}),
            Route("GET", "/large", large, "Answer more than is read", {}),
            Route("GET", "/", root, "Answer like a probe", {}, answers_while_stopping=True),
        )

    def begin_to_stop(self) -> None:
        self.server.loop.call_soon_threadsafe(self.server.stop_event.set)
        soon(lambda: self.app.ctx.is_stopping)

    def release(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended
            self.server.loop.call_soon_threadsafe(self.released.set)

    def is_closed(self) -> bool:
        try:
            connect(self.server).close()
        except ConnectionRefusedError:
            return True
        return False


@pytest.fixture
def stopping(home: Home) -> Iterator[Stopping]:
    """One with more grace than any test takes."""
    stopping = Stopping(home)
    with running(stopping.app, grace_seconds=60) as stopping.server:
        yield stopping
        stopping.release()


@pytest.fixture
def long_answer(stopping: Stopping) -> Iterator[Future[httpx.Response]]:
    """One that is being given."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(httpx.get, f"{stopping.server.url}/long", timeout=30)
        soon(lambda: len(stopping.app.ctx.running) == 1)
        yield asked
        stopping.release()


def test_a_server_says_that_it_is_being_stopped_until_all_is_answered(
    stopping: Stopping, long_answer: Future[httpx.Response]
) -> None:
    with httpx.Client(base_url=stopping.server.url, timeout=30) as kept:
        assert kept.get("/api/health?ready").status_code == 200
        stopping.begin_to_stop()
        ready = kept.get("/api/health?ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "the server is being stopped")
        assert ready.headers["connection"] == "close"
        assert kept.get("/api/health").status_code == 200
        refused = kept.post("/long", content=bytes(1000))
        assert (refused.status_code, refused.json()["code"]) == (503, "server-stopping")
        assert int(refused.headers["retry-after"]) > 0
    assert not long_answer.done()
    stopping.release()
    assert long_answer.result(timeout=30).text == "done"
    stopping.server.thread.join(timeout=30)
    assert stopping.is_closed()


def test_kept_connections_are_told_and_closed_at_the_end(
    stopping: Stopping, long_answer: Future[httpx.Response]
) -> None:
    with connect(stopping.server) as kept:
        kept.sendall(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        read = kept.recv(65536)
        stopping.begin_to_stop()
        assert httpx.get(f"{stopping.server.url}/api/health?ready").status_code == 503  # and the kept one is open still
        stopping.release()
        assert [answer.status for answer in answers(read + until_closed(kept))] == [200]
    assert long_answer.result(timeout=30).text == "done"


def test_nobody_waits_for_what_is_asked_while_it_ends(stopping: Stopping, long_answer: Future[httpx.Response]) -> None:
    assert httpx.get(f"{stopping.server.url}/").text == "waited for"
    stopping.begin_to_stop()
    assert httpx.get(f"{stopping.server.url}/").text == "not waited for"
    stopping.release()
    assert long_answer.result(timeout=30).text == "done"


def test_an_answer_that_is_still_being_read_has_its_grace(stopping: Stopping) -> None:
    with socket.create_connection(("127.0.0.1", stopping.server.port), timeout=30) as reader:
        reader.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        soon(lambda: any(each.path == "/large" for each in stopping.server.observed))
        stopping.begin_to_stop()
        for _ in range(3):
            assert httpx.get(f"{stopping.server.url}/api/health?ready").status_code == 503
        [answer] = answers(until_closed(reader))
    assert len(answer.body) == LARGE
    stopping.server.thread.join(timeout=30)
    assert stopping.is_closed()
