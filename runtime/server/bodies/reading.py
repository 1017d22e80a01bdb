"""Reads the bytes of request bodies: limits their size and time, and decompresses them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from sanic import Request

from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.runtime.protocol.errors import RequestTooLarge
from mlxbuild.runtime.server.bodies.content_coding import decoder
from mlxbuild.runtime.server.failures import RequestTooSlow
from mlxbuild.runtime.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The maximum size of a body, and the setting that defines it."""

    size_bytes: int
    setting: str
    place: str

    def check(self, size_bytes: int) -> None:
        """Check the size of a body.

        Raises:
            RequestTooLarge: the body is longer than the limit.
        """
        if size_bytes > self.size_bytes:
            raise RequestTooLarge(
                f"the body has more than {self.size_bytes} bytes",
                hint=f"raise `serve.{self.setting}` {self.place}, now {format_bytes(self.size_bytes)}",
            )


def body_limit(settings: ServerSettings) -> SizeLimit:
    """The limit on all bodies except blobs."""
    return SizeLimit(settings.body_limit_bytes, "body_limit", settings.places.of("body_limit"))


def blob_limit(settings: ServerSettings) -> SizeLimit:
    """The limit on a blob."""
    return SizeLimit(settings.blob_limit_bytes, "blob_limit", settings.places.of("blob_limit"))


async def read_body(request: Request) -> bytes:
    """Read and decode the whole body of a request, within the server's limits.

    Raises:
        RequestTooSlow: the body takes longer than `serve.body_seconds`.
        RequestTooLarge, InvalidRequest, ContentCodingNotSupported: as for `body_pieces`.
    """
    settings = request.app.ctx.application.settings
    body = bytearray()
    try:
        async with (
            asyncio.timeout(settings.body_seconds),
            contextlib.aclosing(body_pieces(request, body_limit(settings))) as pieces,
        ):
            async for piece in pieces:
                body += piece
    except TimeoutError:
        raise _too_slow("the body did not come", settings) from None
    return bytes(body)


async def body_pieces(request: Request, limit: SizeLimit, piece_seconds: float | None = None) -> AsyncGenerator[bytes]:
    """Stream the decoded body of a request whose route is declared with `stream=True`.

    Raises:
        RequestTooLarge: the body exceeds the limit, by its `Content-Length`, as received, or decoded.
        RequestTooSlow: the next piece does not arrive within `piece_seconds`, or the body arrives too slowly.
        InvalidRequest, ContentCodingNotSupported: the content coding is broken, or unknown.
    """
    content_length(request, limit)
    coding = decoder(request.headers.get("content-encoding", ""))
    coded_bytes = plain_bytes = 0
    while (coded := await _next_piece(request, piece_seconds)) is not None:
        coded_bytes += len(coded)
        for piece in coding.pieces(coded):
            plain_bytes += len(piece)
            limit.check(max(coded_bytes, plain_bytes))
            yield piece
            await asyncio.sleep(0)  # let other requests run, as decompressing takes time
    if coded_bytes:
        coding.end()


def content_length(request: Request, limit: SizeLimit) -> int:
    """The `Content-Length` of a request in bytes; 0 if it has none.

    Raises:
        RequestTooLarge: the length exceeds the limit.
    """
    size_bytes = int(request.headers.get("content-length") or 0)
    limit.check(size_bytes)
    return size_bytes


async def _next_piece(request: Request, seconds: float | None) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            piece: bytes | None = await request.stream.read()  # type: ignore[union-attr]
            return piece
    except TimeoutError:
        raise _too_slow("nothing more of the body came", request.app.ctx.application.settings) from None


def _too_slow(what: str, settings: ServerSettings) -> RequestTooSlow:
    seconds, place = settings.body_seconds, settings.places.of("body_seconds")
    return RequestTooSlow(
        f"{what} within {seconds:g} seconds", hint=f"raise `serve.body_seconds` {place}, now {seconds:g}"
    )
