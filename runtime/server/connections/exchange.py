"""The requests and responses of one connection, by RFC 9112 and within limits, on top of Sanic's class."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any

from sanic.compat import Header
from sanic.exceptions import BadRequest
from sanic.headers import format_http1_response
from sanic.helpers import has_message_body
from sanic.http import Http, Stage

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.server.connections.head import RequestHead, read_head, told_request_line
from mlxbuild.runtime.server.connections.lingering import LINGERING_SECONDS
from mlxbuild.runtime.server.connections.protocol import BoundedProtocol
from mlxbuild.runtime.server.failures import HeaderTooLarge, MalformedRequest, RequestTooSlow

MOST_HEAD_BYTES = 16_384
"""The maximum size of request line and header fields together."""
_ENDING_BODIES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""Statuses that leave the rest of a body unread, so that the start of the next request is unknown."""
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,15}")


class Exchange(Http):
    """The HTTP exchange on one connection: reads a request, has it answered, and reads the next."""

    __slots__ = ("_drains_until", "_waited_seconds")

    protocol: BoundedProtocol
    request_body: Any
    """`chunked`, or whether there is (still) a body to read."""
    request_bytes: int
    """The length of the body, as far as it is announced."""
    request_bytes_left: int
    response_func: Any
    """The function that sends a piece of the response."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._receive_more = self._receive

    def init_for_request(self) -> None:
        """Reset the state; Sanic calls this before each request."""
        super().init_for_request()  # type: ignore[no-untyped-call]
        self._waited_seconds = 0.0
        self._drains_until: float | None = None
        self.protocol.waits()

    async def http1_request_header(self) -> None:
        """Receive a request's head by its deadline, and create the request.

        Raises:
            RequestTooSlow, HeaderTooLarge, MlxbuildError: the head is late, too large or invalid.
        """
        settings = self.protocol.settings
        seconds = settings.header_seconds
        try:
            async with asyncio.timeout_at(self.protocol.head_deadline()):
                data = await self._receive_head()
        except TimeoutError:
            raise RequestTooSlow(
                f"the header did not come within {seconds:g} seconds",
                hint=f"raise `serve.header_seconds` {settings.places.of('header_seconds')}, now {seconds:g}",
            ) from None
        try:
            self._begin(read_head(data), data)
        except MlxbuildError:
            self.recv_buffer[:0] = data  # `error_response` reads the path, to answer in the format of its API
            raise
        self.protocol.answers()

    async def _receive_head(self) -> bytes:
        """Take all up to the first empty line out of the buffer, and drop empty lines before it.

        Raises:
            HeaderTooLarge, MalformedRequest: raised as soon as it is certain, even before the head is complete.
        """
        buffer = self.recv_buffer
        seen = 0
        while True:
            while buffer.startswith(b"\r\n"):
                del buffer[:2]
            end = buffer.find(b"\r\n\r\n", seen)
            if max(end, len(buffer) - 3 if end < 0 else end) > MOST_HEAD_BYTES:
                raise HeaderTooLarge(
                    f"the header has more than {MOST_HEAD_BYTES} bytes",
                    hint="send less in the path and the header fields; no setting changes these limits",
                )
            if _BARE_LINE_END.search(buffer, seen, end if end >= 0 else len(buffer)):
                raise MalformedRequest("a line of the header ends in something other than CR and LF")
            if end >= 0:
                data = bytes(buffer[: end + 4])
                del buffer[: end + 4]
                return data
            seen = max(0, len(buffer) - 3)
            await self.protocol.receive_more()  # type: ignore[no-untyped-call]

    def _begin(self, head: RequestHead, data: bytes) -> None:
        self.url, self.head_only = head.target, head.method == "HEAD"
        self.keep_alive = head.keeps_alive
        request = self.protocol.request_class(
            url_bytes=head.target.encode("ascii"),
            headers=Header(head.fields),
            head=data,
            version=head.version,
            method=head.method,
            transport=self.protocol.transport,  # type: ignore[arg-type]
            app=self.protocol.app,
        )
        self.protocol.request_class._current.set(request)
        self.request_bytes = self.request_bytes_left = head.content_length or 0
        if head.is_chunked:
            self.request_body = "chunked"
            self.recv_buffer[:0] = b"\r\n"  # Sanic reads a chunk's size from the end of the line before
        else:
            self.request_body = head.content_length is not None
        self.expecting_continue = head.expects_continue and bool(self.request_body)
        self.request, request.stream = request, self
        self.protocol.state["requests_count"] += 1

    async def read(self) -> bytes | None:
        """Read some bytes of the body; None at its end.

        Raises:
            RequestTooSlow: the body arrives too slowly.
            MalformedRequest: the body's framing is invalid.
            BadRequest: the framing of a body that no route reads is invalid.
        """
        try:
            if self.request_body == "chunked" and self.request_bytes_left == 0:
                await self._check_end_of_chunk()
            data = await super().read()
            if data is None and self.protocol.transport is not None:
                self.protocol.transport.resume_reading()  # a large body pauses it, and hides that a client left
            return data
        except BadRequest as error:
            if self.stage not in (Stage.HANDLER, Stage.RESPONSE):
                raise  # no route reads this body: Sanic closes the connection
            raise MalformedRequest(f"the body is not in sound chunks: {error}") from None

    async def _check_end_of_chunk(self) -> None:
        while len(self.recv_buffer) < 2:
            await self._receive()
        if self.recv_buffer[:2] != b"\r\n":
            self.keep_alive = False
            raise BadRequest("a chunk is longer than its size says")

    @staticmethod
    def _safe_int(value: str, base: int = 10) -> int:
        """Parse the size of a chunk; Python's `int` accepts more than HTTP allows."""
        if _HEXADECIMAL.fullmatch(value) is None:
            raise ValueError(value)
        return int(value, base)

    async def _receive(self) -> None:
        """Wait for more data from the client, between two requests or in a body, within the time limits."""
        if not self.request_body:
            await self.protocol.receive_more()  # type: ignore[no-untyped-call]
        elif self.stage in (Stage.HANDLER, Stage.RESPONSE):
            await self._receive_body()
        else:
            await self._receive_unread()

    async def _receive_body(self) -> None:
        """Receive more of the body; only the time spent waiting for the client counts towards its minimum rate."""
        settings, loop = self.protocol.settings, self.protocol.loop
        begun = loop.time()
        left = None
        if settings.body_bytes_per_second:
            received = self.request_bytes - self.request_bytes_left
            left = settings.body_grace_seconds + received / settings.body_bytes_per_second - self._waited_seconds
        try:
            async with asyncio.timeout(left):
                await self.protocol.receive_more()  # type: ignore[no-untyped-call]
        except TimeoutError:
            self.keep_alive = False
            least = settings.body_bytes_per_second
            raise RequestTooSlow(
                f"the body comes more slowly than {least} bytes a second",
                hint=f"lower `serve.body_rate` {settings.places.of('body_rate')}, now {least}; 0 means no limit",
            ) from None
        finally:
            self._waited_seconds += loop.time() - begun

    async def _receive_unread(self) -> None:
        """Receive the rest of a body that no route reads; Sanic closes the connection on a `BadRequest`."""
        loop = self.protocol.loop
        self._drains_until = self._drains_until or loop.time() + LINGERING_SECONDS
        try:
            async with asyncio.timeout_at(self._drains_until):
                await self.protocol.receive_more()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise BadRequest("the rest of the body did not come") from None

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send a response's head, and its body as far as it is known."""
        response, headers = self.response, self.response.headers
        if not data and (body := getattr(response, "body", None)):
            data, end_stream = body, True
        self.response_size = len(data)
        if self.expecting_continue or (self.request_body and response.status in _ENDING_BODIES):
            self.expecting_continue = self.keep_alive = False  # the client may never send the (rest of the) body
            self.request_body = None
        if self.protocol.app.ctx.is_stopping:
            self.keep_alive = False
        if not has_message_body(response.status):  # type: ignore[no-untyped-call]
            data, end_stream = b"", True
            headers.pop("content-length", None)
            headers.pop("transfer-encoding", None)
            self.response_func = None
        elif end_stream:
            if not (self.head_only and "content-length" in headers):
                headers["content-length"] = len(data)
            self.response_func = None
        elif self.request.version == "1.0":  # it has no chunked coding: closing the connection ends the body
            self.keep_alive = False
            self.response_func = self._send_until_closed
        else:
            headers["transfer-encoding"] = "chunked"
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self.response_func = self.http1_response_chunked
        if self.head_only:
            data, self.response_func = b"", self.head_response_ignored
        headers["connection"] = "keep-alive" if self.keep_alive else "close"
        await self._send(format_http1_response(response.status, response.processed_headers) + data)
        self.stage = Stage.IDLE if end_stream else Stage.RESPONSE

    async def _send_until_closed(self, data: bytes, end_stream: bool) -> None:
        if data:
            await self._send(data)
        if end_stream:
            self.response_func, self.stage = None, Stage.IDLE

    async def error_response(self, exception: Exception) -> None:
        """Answer an error, unless the client is gone."""
        if self.protocol.conn_info is None or self.protocol.conn_info.lost:
            self.keep_alive, self.stage, self.request_body = False, Stage.FAILED, None
            return
        if self.stage is not Stage.REQUEST:
            await super().error_response(exception)
            return
        # The head is invalid: access is not checked, and the start of the next request is unknown.
        method, self.url = told_request_line(bytes(self.recv_buffer))
        self.keep_alive, self.stage, self.head_only = False, Stage.HANDLER, method == "HEAD"
        self.create_empty_request()
        self.request.method = method
        self.request.conn_info = self.protocol.conn_info
        await self.protocol.refuse(self.request, exception)


class ExchangeProtocol(BoundedProtocol):
    """The protocol of the server's connections."""

    HTTP_CLASS = Exchange
    __slots__ = ()
