"""Decodes untrusted JSON, and refuses documents that would take far more memory than they have bytes."""

from __future__ import annotations

import json
from typing import Any

MOST_VALUES = 100_000
"""The limit on objects and lists together. An empty object is two bytes of JSON and takes sixty bytes of memory; a
manifest of 4 MiB that lists files has about thirty thousand."""


def decode(data: bytes) -> Any:
    """Decode a JSON document.

    Raises:
        ValueError: the bytes are not JSON, are nested too deeply, or hold more than `MOST_VALUES` objects and lists.
    """
    if data.count(b"{") + data.count(b"[") > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES} objects and lists")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
