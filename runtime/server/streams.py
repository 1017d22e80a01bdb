"""Answers that are written while they come into being. Errors end them in words, never in silence."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.residency.errors import ServerStopping
from mlxbuild.runtime.server.api import Manners
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.failures import NOWHERE, failure_of
from mlxbuild.runtime.server.observability.observation import request_id


class ReaderGone(Exception):
    """A client takes nothing in any more, and its connection was ended."""


class AnswerStream:
    """A streamed answer to one request; its status and headers go out with the first piece.

    Use it in an `async with` statement. An error before the first piece leaves the statement, and becomes an answer
    with its own status; one after it is written into the stream, which then ends. When the client goes away the
    statement's task is cancelled, and so is what it waits for.
    """

    def __init__(self, request: Request, manners: Manners) -> None:
        self._request, self._manners = request, manners
        self._response: HTTPResponse | None = None

    async def send(self, piece: bytes) -> None:
        """Write a piece, and wait while the client has enough unread ones."""
        if self._response is None:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies hand pieces on as they come
            self._response = await self._request.respond(content_type=self._manners.stream_type, headers=headers)
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
                return False  # nobody listens any more
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
            await self._response.send(self._manners.stream_error(failure, request_id(self._request)))
        await self._response.send("", end_stream=True)
        return True


def is_stopping(request: Request) -> bool:
    """Whether a request was cancelled because the server ends, and not because its client went away."""
    app: Any = request.app
    return bool(getattr(app.ctx, "is_stopping", False)) and not request.conn_info.lost  # type: ignore[union-attr]
