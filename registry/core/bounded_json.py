"""Reads JSON that may come from anybody: what would take much more memory than it has bytes is not read."""

from __future__ import annotations

import json
from typing import Any

MOST_VALUES = 100_000
"""Objects and lists together. An empty object of two bytes takes sixty of memory; a manifest of 4 MiB that names files
has about thirty thousand."""


def decode(data: bytes) -> Any:
    """The value that some bytes of JSON stand for.

    Raises:
        ValueError: they are no JSON, too deeply nested, or hold more than `MOST_VALUES` objects and lists.
    """
    if data.count(b"{") + data.count(b"[") > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES} objects and lists")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
