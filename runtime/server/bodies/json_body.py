"""Parses the bodies of requests as JSON; `validation` checks what they say."""

from __future__ import annotations

import json
import re
from typing import Any

from sanic import Request

from mlxbuild.runtime.server.bodies.reading import read_body
from mlxbuild.runtime.server.failures import InvalidRequest

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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
