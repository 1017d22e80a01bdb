"""Why something runs again: the difference of two pre-images, as sentences. Nothing here guesses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.graph.action import ActionRecord
from toolchain.graph.key import record_to_json

_ABSENT = object()
_LONG = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two records."""

    path: str
    """Dotted, such as `parameters.quantization.bits`."""
    old: str | None
    """None where the entry is new."""
    new: str | None
    """None where the entry is gone."""

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.path}: added {self.new}"
        if self.new is None:
            return f"{self.path}: removed {self.old}"
        return f"{self.path}: {self.old} → {self.new}"


def differences(old: ActionRecord, new: ActionRecord) -> tuple[Change, ...]:
    """Every leaf in which two records differ, in order of their paths. Equal records give none."""
    return tuple(_walk("", record_to_json(old), record_to_json(new)))


def summarise(changes: Sequence[Change], limit: int = 2) -> str:
    """A line for a plan: the first changes, and how many more there are."""
    shown = "; ".join(str(change) for change in changes[:limit])
    more = len(changes) - limit
    return f"{shown}; and {more} more" if more > 0 else shown


def _walk(path: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _walk(f"{path}.{key}" if path else str(key), old.get(key, _ABSENT), new.get(key, _ABSENT))
        return
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _walk_rows(path, list(old), list(new))
        return
    if old != new:
        yield Change(path, _show(old), _show(new))


def _walk_rows(path: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    """Lists of named rows (tensor tables) are compared by name, other lists by position."""
    if _named(old) and _named(new):
        yield from _walk(path, {row[0]: row[1:] for row in old}, {row[0]: row[1:] for row in new})
        return
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else _ABSENT
        after = new[index] if index < len(new) else _ABSENT
        yield from _walk(f"{path}[{index}]", before, after)


def _named(rows: list[Any]) -> bool:
    names = [row[0] for row in rows if isinstance(row, list | tuple) and row and isinstance(row[0], str)]
    return len(names) == len(rows) == len(set(names))


def _show(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    text = str(value)
    if text.startswith(("sha256:", "blake3:")):
        return text[:19]
    if isinstance(value, str):
        text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
