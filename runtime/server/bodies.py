"""Reads the bodies of requests: bounded in size and time, as JSON, checked by pydantic models."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sanic import Request

from runtime.server.failures import InvalidRequest, RequestTooLarge, RequestTooSlow

Body = TypeVar("Body", bound=BaseModel)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


async def read_body(request: Request, *, limit_bytes: int, seconds: float) -> bytes:
    """The whole body of a request whose route is declared with `stream=True`.

    Raises:
        RequestTooLarge, RequestTooSlow: it is longer, or takes longer.
    """
    if int(request.headers.get("content-length") or 0) > limit_bytes:
        raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    pieces = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while (piece := await request.stream.read()) is not None:  # type: ignore[union-attr]
                pieces += piece
                if len(pieces) > limit_bytes:
                    raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    except TimeoutError:
        raise RequestTooSlow(f"the body did not come within {seconds:g} seconds") from None
    return bytes(pieces)


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body, whatever its content type says.

    Raises:
        InvalidRequest: there is none.
        RequestTooLarge, RequestTooSlow: as `read_body`.
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
        message = f"`{place}`: {detail['msg']}" if place else detail["msg"]
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
