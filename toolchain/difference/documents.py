"""Differences between JSON documents and between texts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "(missing)"})()


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs between two documents."""

    path: str
    """Dotted path with list indices in brackets; empty for the whole document."""
    before: Any
    """The old value, or `MISSING` if there was none."""
    after: Any
    """The new value, or `MISSING` if it was removed."""

    def to_json(self) -> dict[str, Any]:
        """The change as plain JSON data, without a side that is missing."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{side: value for side, value in sides.items() if value is not MISSING}}

    def __str__(self) -> str:
        name = self.path or "(all)"
        if self.before is MISSING:
            return f"+ {name}: {_short(self.after)}"
        if self.after is MISSING:
            return f"- {name}: {_short(self.before)}"
        return f"~ {name}: {_short(self.before)} -> {_short(self.after)}"


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Every difference between two JSON values, descending into maps and into lists of equal length."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else str(key)
            yield from changes(before.get(key, MISSING), after.get(key, MISSING), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changes(one, other, f"{path}[{number}]")
    elif type(before) is not type(after) or before != after:
        yield Change(path, before, after)


def unified(before: str, after: str, name: str) -> tuple[str, ...]:
    """The lines of a unified diff, without newlines."""
    return tuple(difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
