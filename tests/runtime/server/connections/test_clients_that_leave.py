"""A client that leaves ends the work for its request, however large its body was."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.connections.wire import connect
from tests.runtime.server.running import running


@pytest.mark.parametrize("size", [10, 9000])
def test_work_ends_with_its_client(tmp_path: Path, size: int) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work(_request: Request) -> HTTPResponse:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        raise AssertionError

    home = Home(tmp_path / "home")
    app = create_app(Application(home, Store.open(home), ServerSettings(), None, None, "0.1.0"))  # type: ignore[arg-type]
    app.config.REQUEST_BUFFER_SIZE = 1000  # more is not read from a connection until the route asks for it
    app.add_route(work, "/work", methods=["POST"])
    with running(app) as server:
        with connect(server) as connection:
            connection.sendall(
                b"POST /work HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
            )
            assert begun.wait(8)
        assert ended.wait(8)
