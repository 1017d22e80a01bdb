"""Describes the responses of routes by their JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from mlxbuild.runtime.server.responses.schemas import Schema

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Reply:
    """The response for one status: schemas by content type; without any, it has no content."""

    contents: Mapping[str, Schema] = field(default_factory=dict)


def success(*contents: tuple[str, Schema]) -> dict[int, Reply]:
    """The response with status 200, which has one of some types of content."""
    return {HTTPStatus.OK.value: Reply(dict(contents))}
