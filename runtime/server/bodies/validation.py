"""Validates the bodies of requests by pydantic, and words the error of the field that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from sanic import Request

from mlxbuild.runtime.server.bodies.json_body import read_json
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.bodies.unknown_fields import tell_unknown
from mlxbuild.runtime.server.bodies.wrong_fields import said, tag_place
from mlxbuild.runtime.server.failures import InvalidRequest

Body = TypeVar("Body", bound=RequestBody)


async def read_request(request: Request, model: type[Body]) -> Body:
    """Read and validate the body of a request.

    Raises:
        InvalidRequest: the body is not a JSON object, or a field is wrong, which the error names.
        RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: as for `reading.read_body`.
    """
    document = await read_json(request)
    body = checked(model, document)
    tell_unknown(model, document, route=request.path, client=request.headers.get("user-agent", ""))
    return body


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
