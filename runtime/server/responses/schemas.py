"""JSON Schemas of responses, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
EVENT: Schema = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
"""The schema of one server-sent event."""
LINE: Schema = {}
"""The schema of one line of NDJSON: any."""


def fields(*names: str, **schemas: Schema) -> Schema:
    """The schema of an object with required fields, of any type unless a schema is given."""
    return {"type": "object", "required": [*names, *schemas], "properties": schemas}
