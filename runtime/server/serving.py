"""Runs a server from listening to its graceful shutdown; `app` creates the application that it serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from sanic import Sanic
from sanic.server.async_server import AsyncioServer

from mlxbuild.runtime.server.connections.exchange import ExchangeProtocol
from mlxbuild.runtime.server.listening import BACKLOG

_ACCEPTED_AT_ONCE = 16
"""How many connections are accepted at once, before the connection limit applies; each takes a descriptor."""
_POLL_SECONDS = 0.02
LAST_WORDS_SECONDS = 2.0
"""Time for interrupted streams to write their error, and again for abandoned transfers and builds to end."""


async def serve(app: Sanic[Any, Any], listening: socket.socket, stop: asyncio.Event, *, grace_seconds: float) -> None:
    """Serve until `stop` is set; then refuse new work, wait for running requests, and interrupt those that do not end.

    Meanwhile the server still listens, and answers new requests with an error (see `stopping`).
    Contract: it returns within `grace_seconds` plus twice `LAST_WORDS_SECONDS` after `stop` is set.
    """
    server = await app.create_server(
        sock=listening, protocol=ExchangeProtocol, backlog=_ACCEPTED_AT_ONCE, return_asyncio_server=True
    )
    assert server is not None
    listening.listen(BACKLOG)  # asyncio uses its `backlog` also as the number of connections that it accepts at once
    await server.startup()  # type: ignore[no-untyped-call]
    try:
        await stop.wait()
    finally:
        app.ctx.is_stopping = True
        with contextlib.suppress(asyncio.CancelledError):
            await _end(app, server, grace_seconds)


async def _end(app: Sanic[Any, Any], server: AsyncioServer, grace_seconds: float) -> None:
    now = asyncio.get_running_loop().time
    await _answered(app, server, now() + grace_seconds)
    for task in tuple(app.ctx.running):
        task.cancel()
    ends = now() + LAST_WORDS_SECONDS
    await _answered(app, server, ends)
    server.server.close()  # type: ignore[attr-defined]
    await _closed(server, ends)
    await app.ctx.task_threads.ended(LAST_WORDS_SECONDS)
    for connection in (*server.connections, *app.ctx.lingering):
        connection.abort()
    await asyncio.sleep(0)


async def _answered(app: Sanic[Any, Any], server: AsyncioServer, ends: float) -> None:
    """Wait until all requests from before the shutdown are answered, and all responses are sent."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        if not app.ctx.running and not any(connection.has_unsent for connection in server.connections):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _closed(server: AsyncioServer, ends: float) -> None:
    """Wait until every connection is closed, which happens as soon as its response is sent."""
    loop = asyncio.get_running_loop()
    while server.connections:
        for connection in tuple(server.connections):
            connection.close_if_idle()
        if loop.time() >= ends:
            return
        await asyncio.sleep(_POLL_SECONDS)
