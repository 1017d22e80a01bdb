"""Reads the bodies of requests: bounded in size and time, inflated, as JSON, checked by pydantic models."""

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
from mlxbuild.runtime.server.content_coding import decoder
from mlxbuild.runtime.server.failures import InvalidRequest, RequestTooLarge, RequestTooSlow
from mlxbuild.runtime.server.settings import ServerSettings
from mlxbuild.runtime.server.wrong_fields import said, tag_place

Body = TypeVar("Body", bound=BaseModel)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """How long a body may be, and which setting says so."""

    size_bytes: int
    setting: str
    place: str

    def check(self, size_bytes: int) -> None:
        """Let a body of that size pass.

        Raises:
            RequestTooLarge: it is longer.
        """
        if size_bytes > self.size_bytes:
            raise RequestTooLarge(
                f"the body has more than {self.size_bytes} bytes",
                hint=f"raise `serve.{self.setting}` {self.place}, now {format_bytes(self.size_bytes)}",
            )


def body_limit(settings: ServerSettings) -> SizeLimit:
    """Of all bodies but blobs."""
    return SizeLimit(settings.body_limit_bytes, "body_limit", settings.places.of("body_limit"))


def blob_limit(settings: ServerSettings) -> SizeLimit:
    """Of a blob."""
    return SizeLimit(settings.blob_limit_bytes, "blob_limit", settings.places.of("blob_limit"))


async def read_body(request: Request) -> bytes:
    """The whole body of a request, as `body_pieces` gives it, within the server's bounds.

    Raises:
        RequestTooSlow: it takes longer.
        RequestTooLarge, InvalidRequest, ContentCodingNotSupported: as `body_pieces`.
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
    """The body of a request whose route is declared with `stream=True`, as it comes; without its content coding.

    Raises:
        RequestTooLarge: it says to be longer, or is, as it comes or without its coding.
        RequestTooSlow: the next piece does not come within `piece_seconds`, or all of them too slowly.
        InvalidRequest, ContentCodingNotSupported: its coding is broken, or not known.
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
            await asyncio.sleep(0)  # inflating takes time that others may want
    if coded_bytes:
        coding.end()


def content_length(request: Request, limit: SizeLimit) -> int:
    """How many bytes a body says to have; 0 where it says nothing.

    Raises:
        RequestTooLarge: those are too many.
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
    """The JSON object in a request's body, whatever its content type says.

    Raises:
        InvalidRequest: there is none.
        RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: as `read_body`.
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
    """JSON in which every text is one: half characters become U+FFFD.

    Raises:
        ValueError, RecursionError: it is no JSON, or too deep.
    """
    document = json.loads(text)
    return _whole(document) if _SURROGATE.search(text) else document


def checked(model: type[Body], document: dict[str, Any]) -> Body:
    """A request as its model.

    Raises:
        InvalidRequest: with the field that is wrong.
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
    """Where in a document an error is: pydantic's location without the names of the types that it tried.

    The deepest error is the one to tell, as whoever got that far meant that type.
    """
    steps: list[int | str] = []
    value = document
    for step in location:
        if (isinstance(value, list) and isinstance(step, int)) or (isinstance(value, dict) and step in value):
            value = value[step]  # type: ignore[index]
            steps.append(step)
    return [*steps, location[-1]] if is_missing else steps


def _telling(kind: str) -> int:
    """How much one of several errors in the same place says: a type may be one of several that were tried."""
    return 0 if kind.endswith("_type") else 1 if kind == "missing" else 2


def _whole(value: Any) -> Any:
    """With U+FFFD in the place of half characters, which JSON can write and no text can hold."""
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
