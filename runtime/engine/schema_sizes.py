"""Bounds the objects of a JSON Schema to what llguidance's parser holds in one row of its chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.engine.schema_errors import FormatNotSupported
from runtime.engine.schema_parts import all_parts

MOST_OPTIONAL_PROPERTIES = 450
"""After each other. Any of them may come next, each is four items of a row, and llguidance takes 2,000 in one."""


def check_optional_properties(schema: Mapping[str, Any]) -> None:
    """Refuse objects of which no answer could be begun. The schema need not be a valid one.

    Raises:
        FormatNotSupported: an object has too many optional properties with no required one between them.
    """
    for part in all_parts(schema):
        properties, required = part.get("properties"), part.get("required")
        if not isinstance(properties, Mapping) or len(properties) <= MOST_OPTIONAL_PROPERTIES:
            continue
        names = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if _longest_run(properties, names) > MOST_OPTIONAL_PROPERTIES:
            raise FormatNotSupported(
                f"an object has more than {MOST_OPTIONAL_PROPERTIES} optional properties after each other",
                hint="require properties, or make several objects of them",
            )


def _longest_run(properties: Mapping[str, Any], required: set[str]) -> int:
    longest = run = 0
    for name in properties:
        run = 0 if name in required else run + 1
        longest = max(longest, run)
    return longest
