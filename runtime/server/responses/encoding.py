"""The encodings of responses: JSON, NDJSON and server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(document: Mapping[str, Any]) -> bytes:
    """Compact JSON as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_line(document: Mapping[str, Any]) -> bytes:
    """One line of NDJSON."""
    return as_json(document) + b"\n"


def server_event(document: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event, with `event:` if it has a name."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + as_json(document) + b"\n\n"
