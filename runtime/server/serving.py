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
    """Serve until `stop` is set; then refuse what comes, let what runs end, and tell what does not that it is over.

    Whoever asks meanwhile is answered (see `stopping`): the server listens until all else has ended.
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
    now = asyncio.get_running_loop().time
    await _answered(app, server, now() + grace_seconds)
    for task in tuple(app.ctx.running):
        task.cancel()
    ends = now() + LAST_WORDS_SECONDS
    await _answered(app, server, ends)
    server.server.close()  # type: ignore[attr-defined]
    await _closed(server, ends)
    await app.ctx.lanes.ended(LAST_WORDS_SECONDS)
    for connection in (*server.connections, *app.ctx.lingering):
        connection.abort()
    await asyncio.sleep(0)


async def _answered(app: Sanic[Any, Any], server: AsyncioServer, ends: float) -> None:
    """Wait until no request is being answered that came before the end began, and all answers are out."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        if not app.ctx.running and not any(connection.has_unsent for connection in server.connections):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _closed(server: AsyncioServer, ends: float) -> None:
    """Wait until every connection has closed, which they do as soon as their answer is out."""
    loop = asyncio.get_running_loop()
    while server.connections:
        for connection in tuple(server.connections):
            connection.close_if_idle()
        if loop.time() >= ends:
            return
        await asyncio.sleep(_POLL_SECONDS)
