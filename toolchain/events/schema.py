"""Writes events.v1.schema.json, the JSON Schema of an event's record: `python -m mlxbuild.toolchain.events.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from mlxbuild.toolchain.events.model import Event
from mlxbuild.toolchain.events.records import VERSION

PATH = Path(__file__).parent / f"events.v{VERSION}.schema.json"


def generate() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an event record. Later versions may add fields and kinds."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mlxbuild:events:v{VERSION}",
        "title": f"An event of a build, v{VERSION}",
        "oneOf": [_record(kind) for kind in get_args(Event)],
    }


def _record(kind: type[Any]) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema()
    own = {name: _present(form) for name, form in schema["properties"].items()}
    always = [name for name, form in schema["properties"].items() if "null" not in json.dumps(form)]
    return {
        "type": "object",
        "description": (kind.__doc__ or "").strip(),
        "properties": {
            "version": {"const": VERSION},
            "at": {"type": "number", "description": "Seconds since the command began."},
            "event": {"const": kind.__name__},
            **own,
        },
        "required": ["version", "at", "event", *always],
    }


def _present(form: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field without its null alternative, since fields that are None are left out of records."""
    kept = [each for each in form.get("anyOf", [form]) if each.get("type") != "null"]
    return {name: value for name, value in kept[0].items() if name not in ("title", "default")}


def text() -> str:
    """The schema as committed, and as `mlxbuild schema --events` prints it."""
    return json.dumps(generate(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
