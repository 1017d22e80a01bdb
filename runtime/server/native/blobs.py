"""`/api/blobs/:digest`: contents that clients bring, for `create` to build from."""

from __future__ import annotations

import asyncio
import re
from functools import partial

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, empty

from registry.digest import Digest
from registry.store.errors import BlobCorrupt
from registry.store.tags import UnknownReference
from runtime.server.api import declare
from runtime.server.application import application_of
from runtime.server.failures import InvalidRequest, RequestTooSlow
from runtime.server.work import in_thread

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_PIECE_BYTES = 4 * 1024 * 1024


def add_to(blueprint: Blueprint) -> None:
    """Declare the routes."""
    declare(blueprint, "HEAD", "/api/blobs/<written:str>", _head)
    declare(blueprint, "POST", "/api/blobs/<written:str>", _post)


def blob_digest(written: str) -> Digest:
    """`sha256:` or `sha256-`, and 64 hexadecimal digits.

    Raises:
        InvalidRequest: it is something else.
    """
    match = _DIGEST.fullmatch(written)
    if match is None:
        raise InvalidRequest("invalid digest format", hint="write sha256: and 64 hexadecimal digits")
    return Digest("sha256", match[1].lower())


async def _head(request: Request, written: str) -> HTTPResponse:
    digest = blob_digest(written)
    if not application_of(request).store.has(digest):
        raise UnknownReference(f'blob "{digest}" not found')
    return empty(200)


async def _post(request: Request, written: str) -> HTTPResponse:
    digest, application = blob_digest(written), application_of(request)
    if application.store.has(digest):
        return empty(200)
    seconds = application.settings.body_seconds
    pieces = bytearray()
    with application.store.writer() as writer:
        while (piece := await _piece(request, seconds)) is not None:
            pieces += piece
            if len(pieces) >= _PIECE_BYTES:
                await in_thread(partial(writer.write, bytes(pieces)))
                pieces.clear()
        await in_thread(partial(writer.write, pieces))
        try:
            await in_thread(partial(writer.commit, digest))
        except BlobCorrupt as error:
            raise InvalidRequest(f"digest mismatch, {error.message}") from None
    return empty(201)


async def _piece(request: Request, seconds: float) -> bytes | None:
    """The next piece of a body of any length; it may take long, but not stand still."""
    try:
        async with asyncio.timeout(seconds):
            piece: bytes | None = await request.stream.read()  # type: ignore[union-attr]
            return piece
    except TimeoutError:
        raise RequestTooSlow(f"nothing more of the body came within {seconds:g} seconds") from None
