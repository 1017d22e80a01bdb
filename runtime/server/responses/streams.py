"""Streamed responses, into which an error is written if one occurs in the middle."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.residency.errors import ServerStopping
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.failures import NOWHERE, failure_of
from mlxbuild.runtime.server.request_id import request_id
from mlxbuild.runtime.server.responses.wire_format import WireFormat
from mlxbuild.runtime.server.stopping import is_stopping


class ReaderGone(Exception):
    """A client stopped reading, and its connection was aborted."""


class AnswerStream:
    """A streamed response to one request; its status and headers are sent with the first piece.

    Use it in an `async with` statement. An error before the first piece is raised from the statement, and becomes a
    response with its own status; a later error is written into the stream, which then ends. If the client disconnects,
    the statement's task is cancelled.
    """

    def __init__(self, request: Request, wire_format: WireFormat) -> None:
        self._request, self._wire_format = request, wire_format
        self._response: HTTPResponse | None = None

    async def send(self, piece: bytes) -> None:
        """Send a piece, and wait while the client has too many unread ones."""
        if self._response is None:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies must not buffer
            self._response = await self._request.respond(content_type=self._wire_format.stream_type, headers=headers)
        try:
            async with asyncio.timeout(application_of(self._request).settings.reader_seconds):
                await self._response.send(piece)
        except TimeoutError:
            self._give_up()
            raise ReaderGone from None

    def _give_up(self) -> None:
        transport: asyncio.Transport = self._request.transport  # type: ignore[assignment]
        transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, asyncio.CancelledError):
            if not is_stopping(self._request):
                return False  # the client is gone
            error = ServerStopping("the server is being stopped")
            if self._response is None:
                raise error
        if self._response is None:
            return False
        if isinstance(error, ReaderGone):
            return True
        if error is not None:
            if not isinstance(error, Exception):
                return False
            failure = failure_of(error, getattr(self._request.ctx, "places", NOWHERE))
            self._request.ctx.failure = failure
            await self._response.send(self._wire_format.stream_error(failure, request_id(self._request)))
        await self._response.send("", end_stream=True)
        return True
