"""Explains why an action runs again, by comparing the records of its old and new keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import record_to_json

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "(absent)"})()
_LONG = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two records. `toolchain.graph.reasons` tells it in the words of the recipe."""

    keys: tuple[str | int, ...]
    """Where in the records: keys of maps, names of rows, indices of other lists."""
    before: Any
    """The old value, or `ABSENT` if the entry is new."""
    after: Any
    """The new value, or `ABSENT` if the entry was removed."""

    @property
    def path(self) -> str:
        """Dotted path such as `parameters.quantization.bits`."""
        return joined(self.keys)

    @property
    def old(self) -> str | None:
        """The old value in short; None if the entry is new."""
        return _show(self.before)

    @property
    def new(self) -> str | None:
        """The new value in short; None if the entry was removed."""
        return _show(self.after)

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.path}: added {self.new}"
        if self.new is None:
            return f"{self.path}: removed {self.old}"
        return f"{self.path}: {self.old} → {self.new}"


def joined(keys: Iterable[str | int]) -> str:
    """Keys as a dotted path, with indices in brackets."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def differences(old: ActionRecord, new: ActionRecord) -> tuple[Change, ...]:
    """Every leaf in which two records differ, causes first. Equal records have none.

    Parameters come before the contents of files, and those before the outputs of other actions.
    """
    before, after = record_to_json(old), record_to_json(new)
    read = {**before.pop("inputs"), **after.pop("inputs")}
    inputs = sorted(read, key=lambda name: (isinstance(read[name], Mapping), name))
    return (
        *walk((), before, after),
        *(
            change
            for name in inputs
            for change in walk(("inputs", name), old.inputs.get(name, ABSENT), new.inputs.get(name, ABSENT))
        ),
    )


def walk(keys: tuple[str | int, ...], old: Any, new: Any) -> Iterator[Change]:
    """Every leaf in which two JSON values differ; `keys` say where they stand."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from walk((*keys, key), old.get(key, ABSENT), new.get(key, ABSENT))
        return
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        yield from _walk_rows(keys, list(old), list(new))
        return
    if old != new:
        yield Change(keys, old, new)


def _walk_rows(keys: tuple[str | int, ...], old: list[Any], new: list[Any]) -> Iterator[Change]:
    """Compare lists of named rows (tensor tables) by name, and other lists by index."""
    before, after = _by_name(old), _by_name(new)
    if before is not None and after is not None and _in_one_order(before, after):
        yield from walk(keys, before, after)
        return
    if _is_stored(old) and _is_stored(new):
        yield from walk(keys, {"name": old[0], **_stored(old[1:])}, {"name": new[0], **_stored(new[1:])})
        return
    for index in range(max(len(old), len(new))):
        yield from walk(
            (*keys, index),
            old[index] if index < len(old) else ABSENT,
            new[index] if index < len(new) else ABSENT,
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
    if value is ABSENT:
        return None
    text = str(value)
    if text.startswith(("sha256:", "blake3:")):
        return text[:19]
    if isinstance(value, str):
        text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
