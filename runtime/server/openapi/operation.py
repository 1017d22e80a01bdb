"""What is told of one route: its body, its parameters and its replies. The routes themselves belong to the APIs."""

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
"""Of one server-sent event."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes under one status: schemas by content type; no content where there are none."""

    contents: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    """With its parameters in braces."""
    summary: str
    replies: Mapping[int, Reply]
    body: type[BaseModel] | Schema | None = None
    body_type: str = JSON
    needs_body: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What each of the path's parameters is."""


def fields(*names: str, **schemas: Schema) -> Schema:
    """The schema of an object that has some fields, of any type unless it is told."""
    return {"type": "object", "required": [*names, *schemas], "properties": schemas}


def answers(*contents: tuple[str, Schema], errors: Schema, statuses: tuple[int, ...]) -> dict[int, Reply]:
    """A good reply, and errors of one form under some statuses, and under those of who may not ask."""
    failures = {status: Reply({JSON: errors}) for status in sorted({*statuses, *_NOT_ALLOWED})}
    return {HTTPStatus.OK.value: Reply(dict(contents)), **failures}
