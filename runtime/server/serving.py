"""A server's life: it listens, serves, and ends in order. What it serves: `app`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from sanic import Sanic
from sanic.server.async_server import AsyncioServer

from mlxbuild.runtime.server.connections.protocol import BoundedProtocol
from mlxbuild.runtime.server.listening import BACKLOG

_ACCEPTED_AT_ONCE = 16
"""Connections that are taken in before any of them is looked at: each already has a descriptor by then."""
_POLL_SECONDS = 0.02
LAST_WORDS_SECONDS = 2.0
"""For streams that were cut off to write why, and again for transfers and builds, which nobody waits for, to end."""


async def serve(app: Sanic[Any, Any], listening: socket.socket, stop: asyncio.Event, *, grace_seconds: float) -> None:
    """Serve until `stop` is set; then take no more, let what runs end, and tell what does not that it is over.

    Contract: it returns within `grace_seconds`, and `LAST_WORDS_SECONDS` twice, after that.
    """
    server = await app.create_server(
        sock=listening, protocol=BoundedProtocol, backlog=_ACCEPTED_AT_ONCE, return_asyncio_server=True
    )
    assert server is not None
    listening.listen(BACKLOG)  # for asyncio, one number says both how many may wait and how many it takes in at once
    await server.startup()  # type: ignore[no-untyped-call]
    try:
        await stop.wait()
    finally:
        app.ctx.is_stopping = True
        with contextlib.suppress(asyncio.CancelledError):
            await _end(app, server, grace_seconds)


async def _end(app: Sanic[Any, Any], server: AsyncioServer, grace_seconds: float) -> None:
    server.server.close()  # type: ignore[attr-defined]
    await _closed(server, grace_seconds)
    for task in tuple(app.ctx.running):
        task.cancel()
    await _closed(server, LAST_WORDS_SECONDS)
    await app.ctx.lanes.ended(LAST_WORDS_SECONDS)
    for connection in (*server.connections, *app.ctx.lingering):
        connection.abort()
    await asyncio.sleep(0)


async def _closed(server: AsyncioServer, seconds: float) -> None:
    """Wait until every connection has closed, which they do as soon as their answer is out."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while server.connections and loop.time() < ends:
        for connection in tuple(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(_POLL_SECONDS)
