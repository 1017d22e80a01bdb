"""The protocol of a connection from its acceptance to its end, with the connection limit and the timeouts."""

from __future__ import annotations

import asyncio
from typing import Any

from sanic import Request
from sanic.http import Stage

from mlxbuild.runtime.residency.errors import ServerStopping
from mlxbuild.runtime.server.connections.limit import ConnectionLimit
from mlxbuild.runtime.server.connections.lingering import LingeringClose
from mlxbuild.runtime.server.connections.observation import ObservedProtocol
from mlxbuild.runtime.server.failures import TooManyConnections, failure_of
from mlxbuild.runtime.server.responses.encoding import as_json
from mlxbuild.runtime.server.responses.native_format import error_body
from mlxbuild.runtime.server.settings import ServerSettings

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\nretry-after: 1\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)


class BoundedProtocol(ObservedProtocol):
    """A connection, limited by the application's settings. `exchange` adds what reads its requests."""

    __slots__ = ("_accepted_at", "_has_asked", "settings")

    settings: ServerSettings
    _callback_check_timeouts: asyncio.TimerHandle | None  # type: ignore[assignment]

    def _setup(self) -> None:
        super()._setup()
        self.settings = self.app.ctx.application.settings
        self._has_asked = False
        self._accepted_at = self.loop.time()
        self.keep_alive_timeout = self.settings.header_seconds  # until the first request has come

    def connection_made(self, transport: Any) -> None:
        """Accept a new connection, or refuse it."""
        peer = transport.get_extra_info("peername")
        try:
            self._limit.admit(self, peer[0] if isinstance(peer, tuple) else "")
        except TooManyConnections as error:
            transport.write(_refusal(error))
            LingeringClose(transport, self.app.ctx.lingering)
        else:
            super().connection_made(transport)  # type: ignore[no-untyped-call]

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up when the connection is closed by either side."""
        self._limit.forget(self)
        self._look_no_more()
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def head_deadline(self) -> float:
        """The deadline for the head of the current request, in the loop's time."""
        begun: float = self.loop.time() if self._has_asked else self._accepted_at
        return begun + self.settings.header_seconds

    def waits(self) -> None:
        """Note that the connection waits for a request."""
        self._limit.waiting(self)

    def answers(self) -> None:
        """Note that a request's head has arrived."""
        self._limit.answering(self)
        if not self._has_asked:
            self._has_asked = True
            self.keep_alive_timeout = self.settings.idle_seconds
            self._look_no_more()
            self.check_timeouts()  # type: ignore[no-untyped-call]

    def let_go(self, why: TooManyConnections) -> None:
        """Close the connection, which has no request in progress, in favor of another one.

        A refusal is sent on a new connection, or if a head has begun to arrive; between two requests the client could
        not tell what it answers.
        """
        if self.transport is None or self.transport.is_closing():
            return
        if not self._has_asked or (self.http is not None and self.http.stage is Stage.REQUEST):
            self.transport.write(_refusal(why))
        if self.transport.get_write_buffer_size():  # the client does not read
            self.transport.abort()
        else:
            self.close()

    @property
    def has_unsent(self) -> bool:
        """Whether a part of a response is still in the write buffer."""
        return self.transport is not None and bool(self.transport.get_write_buffer_size())

    def close(self, timeout: float | None = None) -> None:
        """Close the connection so that the client can read the last response even while it is sending."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            super().close(timeout)
        elif self.conn_info is not None and not self.conn_info.lost:
            LingeringClose(transport, self.app.ctx.lingering)
            self.connection_lost(None)

    def close_if_idle(self) -> bool:
        """Close the connection if no request is in progress; a stopping server calls this repeatedly."""
        if self.http is None or self.http.stage is not Stage.REQUEST:
            return super().close_if_idle()
        if self.http.exception is None and self._task is not None:
            self.http.exception = ServerStopping("the server is being stopped")
            self._task.cancel()
        return True

    async def refuse(self, request: Request, error: BaseException) -> None:
        """Answer a request whose head is invalid, and notify the observers."""
        seconds = self.loop.time() - self._accepted_at
        try:
            await self.app.handle_exception(request, error, run_middleware=False)
        finally:
            self.tell(request, seconds, is_gone=False)

    def _look_no_more(self) -> None:
        if (looking := self._callback_check_timeouts) is not None:
            looking.cancel()

    @property
    def _limit(self) -> ConnectionLimit:
        limit: ConnectionLimit = self.app.ctx.connections
        return limit


def _refusal(error: TooManyConnections) -> bytes:
    """The refusal as raw HTTP, in one API's format for all: too many connections leave no time to parse requests."""
    body = as_json(error_body(failure_of(error), ""))
    return _REFUSAL % (len(body), body)
