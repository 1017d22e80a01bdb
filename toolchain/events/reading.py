"""Parses events from JSON lines, for a process that follows a build in another process."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from mlxbuild.toolchain.events.model import Event
from mlxbuild.toolchain.events.records import VERSION

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}


def event_of(line: str) -> Event | None:
    """The event in a line of JSON.

    None if the line is not an event, or one of a kind or version that this program does not know. Unknown fields are
    ignored.
    """
    try:
        whole = json.dumps(json.loads(line), ensure_ascii=False)
        record = json.loads(whole.encode("utf-8", "replace"))  # lone surrogates cannot be encoded
        if not isinstance(record, dict) or record.get("version") != VERSION:
            return None
        if (name := str(record.get("event"))) not in _KINDS:
            return None
        given = {field.name: record.get(field.name) for field in fields(_KINDS[name])}
        event: Event = _adapter(name).validate_python(given)
        return event
    except (ValueError, TypeError, RecursionError, ValidationError):
        return None


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[name])
