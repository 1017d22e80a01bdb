"""Reads request bodies: limits their size and time, decompresses them, parses JSON and validates it by pydantic."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sanic import Request

from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.runtime.protocol.errors import RequestTooLarge
from mlxbuild.runtime.server.content_coding import decoder
from mlxbuild.runtime.server.failures import InvalidRequest, RequestTooSlow
from mlxbuild.runtime.server.settings import ServerSettings
from mlxbuild.runtime.server.wrong_fields import said, tag_place

Body = TypeVar("Body", bound=BaseModel)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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


async def read_json(request: Request) -> dict[str, Any]:
    """Read a request's body as a JSON object, regardless of its content type.

    Raises:
        InvalidRequest: the body is not a JSON object.
        RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: as for `read_body`.
    """
    data = await read_body(request)
    if not data.strip():
        raise InvalidRequest("missing request body")
    try:
        document = parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body is not a JSON object but {_kind(document)}")
    return document


def parse_json(text: str) -> Any:
    """Parse JSON, replacing lone surrogates in strings by U+FFFD.

    Raises:
        ValueError, RecursionError: the text is not JSON, or nests too deeply.
    """
    document = json.loads(text)
    return _whole(document) if _SURROGATE.search(text) else document


def checked(model: type[Body], document: dict[str, Any]) -> Body:
    """Validate a document by a pydantic model.

    Raises:
        InvalidRequest: a field is wrong; the error names it.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        steps, detail = max(
            ((_steps(each["loc"], document, each["type"] == "missing"), each) for each in details),
            key=lambda found: (len(found[0]), _telling(found[1]["type"])),
        )
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
        details_of_it = detail.get("ctx", {})
        message = said(place, detail["type"], details_of_it, detail["msg"])
        if detail["type"].startswith("union_tag_"):
            place = tag_place(place, details_of_it)
        raise InvalidRequest(message, where=place or None) from None


def _steps(location: Sequence[int | str], document: Any, is_missing: bool) -> list[int | str]:
    """The path of an error in a document: pydantic's location without the names of the union's types that it tried.

    The deepest error is reported, as it belongs to the type that the client most likely meant.
    """
    steps: list[int | str] = []
    value = document
    for step in location:
        if (isinstance(value, list) and isinstance(step, int)) or (isinstance(value, dict) and step in value):
            value = value[step]  # type: ignore[index]
            steps.append(step)
    return [*steps, location[-1]] if is_missing else steps


def _telling(kind: str) -> int:
    """How specific an error is among several in the same place; a wrong type may be one of several that were tried."""
    return 0 if kind.endswith("_type") else 1 if kind == "missing" else 2


def _whole(value: Any) -> Any:
    """Replace lone surrogates by U+FFFD, as JSON can contain them but UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return value


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
