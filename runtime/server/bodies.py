"""Reads the bodies of requests: bounded in size and time, inflated, as JSON, checked by pydantic models."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sanic import Request

from runtime.server.content_coding import decoder
from runtime.server.failures import InvalidRequest, RequestTooLarge, RequestTooSlow
from runtime.server.wrong_fields import said, tag_place

Body = TypeVar("Body", bound=BaseModel)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


async def read_body(request: Request, *, limit_bytes: int, seconds: float) -> bytes:
    """The whole body of a request, as `body_pieces` gives it.

    Raises:
        RequestTooSlow: it takes longer.
        RequestTooLarge, InvalidRequest, ContentCodingNotSupported: as `body_pieces`.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds), contextlib.aclosing(body_pieces(request, limit_bytes)) as pieces:
            async for piece in pieces:
                body += piece
    except TimeoutError:
        raise RequestTooSlow(f"the body did not come within {seconds:g} seconds") from None
    return bytes(body)


async def body_pieces(request: Request, limit_bytes: int, piece_seconds: float | None = None) -> AsyncGenerator[bytes]:
    """The body of a request whose route is declared with `stream=True`, as it comes; without its content coding.

    Raises:
        RequestTooLarge: it says to be longer, or is, as it comes or without its coding.
        RequestTooSlow: the next piece does not come within `piece_seconds`, or all of them too slowly.
        InvalidRequest, ContentCodingNotSupported: its coding is broken, or not known.
    """
    content_length(request, limit_bytes)
    coding = decoder(request.headers.get("content-encoding", ""))
    coded_bytes = plain_bytes = 0
    while (coded := await _next_piece(request, piece_seconds)) is not None:
        coded_bytes += len(coded)
        for piece in coding.pieces(coded):
            plain_bytes += len(piece)
            if max(coded_bytes, plain_bytes) > limit_bytes:
                raise _too_large(limit_bytes)
            yield piece
            await asyncio.sleep(0)  # inflating takes time that others may want
    if coded_bytes:
        coding.end()


def content_length(request: Request, limit_bytes: int) -> int:
    """How many bytes a body says to have; 0 where it says nothing.

    Raises:
        RequestTooLarge: those are too many.
    """
    size_bytes = int(request.headers.get("content-length") or 0)
    if size_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    return size_bytes


def _too_large(limit_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"the body has more than {limit_bytes} bytes")


async def _next_piece(request: Request, seconds: float | None) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            piece: bytes | None = await request.stream.read()  # type: ignore[union-attr]
            return piece
    except TimeoutError:
        raise RequestTooSlow(f"nothing more of the body came within {seconds:g} seconds") from None


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body, whatever its content type says.

    Raises:
        InvalidRequest: there is none.
        RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: as `read_body`.
    """
    settings = request.app.ctx.application.settings
    data = await read_body(request, limit_bytes=settings.body_limit_bytes, seconds=settings.body_seconds)
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
