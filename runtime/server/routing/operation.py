"""The description of one route for the OpenAPI document: its body, its parameters and its responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
TEXT = "text/plain"
_NOT_ALLOWED = (401, 403, 429)
Schema = Mapping[str, Any]
EVENT: Schema = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
"""The schema of one server-sent event."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The response for one status: schemas by content type; without any, it has no content."""

    contents: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    """The path, with its parameters in braces."""
    summary: str
    replies: Mapping[int, Reply]
    body: type[BaseModel] | Schema | None = None
    body_type: str = JSON
    needs_body: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The descriptions of the path's parameters, by name."""


def fields(*names: str, **schemas: Schema) -> Schema:
    """The schema of an object with required fields, of any type unless a schema is given."""
    return {"type": "object", "required": [*names, *schemas], "properties": schemas}


def answers(*contents: tuple[str, Schema], errors: Schema, statuses: tuple[int, ...]) -> dict[int, Reply]:
    """The responses of a route: success, and errors with one schema for `statuses` and those of access control."""
    failures = {status: Reply({JSON: errors}) for status in sorted({*statuses, *_NOT_ALLOWED})}
    return {HTTPStatus.OK.value: Reply(dict(contents)), **failures}
