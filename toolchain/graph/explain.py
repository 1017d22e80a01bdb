"""Explains why an action runs again, by comparing the records of its old and new keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import record_to_json

_ABSENT = object()
_LONG = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two records."""

    path: str
    """Dotted path such as `parameters.quantization.bits`."""
    old: str | None
    """None if the entry is new."""
    new: str | None
    """None if the entry was removed."""

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.path}: added {self.new}"
        if self.new is None:
            return f"{self.path}: removed {self.old}"
        return f"{self.path}: {self.old} → {self.new}"


def differences(old: ActionRecord, new: ActionRecord) -> tuple[Change, ...]:
    """Every leaf in which two records differ, causes first. Equal records have none.

    Parameters come before the contents of files, and those before the outputs of other actions.
    """
    before, after = record_to_json(old), record_to_json(new)
    read = {**before.pop("inputs"), **after.pop("inputs")}
    inputs = sorted(read, key=lambda name: (isinstance(read[name], Mapping), name))
    return (
        *_walk("", before, after),
        *(
            change
            for name in inputs
            for change in _walk(f"inputs.{name}", old.inputs.get(name, _ABSENT), new.inputs.get(name, _ABSENT))
        ),
    )


def summarise(changes: Sequence[Change], limit: int = 2) -> str:
    """One line for a plan: the first changes, and how many more there are."""
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
    """Compare lists of named rows (tensor tables) by name, and other lists by index."""
    before, after = _by_name(old), _by_name(new)
    if before is not None and after is not None and _in_one_order(before, after):
        yield from _walk(path, before, after)
        return
    if _is_stored(old) and _is_stored(new):
        yield from _walk(path, {"name": old[0], **_stored(old[1:])}, {"name": new[0], **_stored(new[1:])})
        return
    for index in range(max(len(old), len(new))):
        yield from _walk(
            f"{path}[{index}]",
            old[index] if index < len(old) else _ABSENT,
            new[index] if index < len(new) else _ABSENT,
        )


def _by_name(rows: list[Any]) -> dict[str, Any] | None:
    """Row name to the rest of the row; None if the rows are unnamed or a name is repeated."""
    named: dict[str, Any] = {}
    rest: Any
    for row in rows:
        if isinstance(row, Mapping) and isinstance(row.get("name"), str):
            name, rest = row["name"], {key: value for key, value in row.items() if key != "name"}
        elif isinstance(row, list | tuple) and row and isinstance(row[0], str):
            name, rest = row[0], _stored(row[1:]) if _is_stored(row) else row[1:]
        else:
            return None
        if name in named:
            return None
        named[name] = rest
    return named


def _in_one_order(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return [name for name in old if name in new] == [name for name in new if name in old]


def _is_stored(row: Sequence[Any]) -> bool:
    """Whether a row is a tensor of a source file, in the form of `toolchain.weights.decoded.source_row`."""
    kinds = (str, str, list, str, int, int)
    return len(row) == len(kinds) and all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))


def _stored(values: Sequence[Any]) -> dict[str, Any]:
    dtype, shape, file, begin, size_bytes = values
    return {"dtype": dtype, "shape": shape, "file": f"sha256:{file}", "begin": begin, "size_bytes": size_bytes}


def _show(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    text = str(value)
    if text.startswith(("sha256:", "blake3:")):
        return text[:19]
    if isinstance(value, str):
        text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
