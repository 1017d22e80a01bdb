"""Tells what changed in the tensors that an action reads: one line for all that changed in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlxbuild.toolchain.graph.explain import ABSENT, Change

_TABLES = ("tensors", "decoded")


def is_tensor(keys: Sequence[str | int]) -> bool:
    """Whether keys below `parameters` lead into a table of tensors."""
    match keys:
        case ["adapters", int(), "tensors", *_]:
            return True
        case [first, *_]:
            return first in _TABLES
    return False


def tensor_reasons(changes: Iterable[Change]) -> Iterator[tuple[str, str]]:
    """What changed, as a subject and what happened to it: `22 tensors`, `their file changed: … → …`."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    refiled = set()
    for change in changes:
        name, attribute = _name(change.keys)
        if attribute == "file":
            refiled.add(name)
        values = ("", "") if attribute in ("", "begin", "size_bytes") else (_shown(change.before), _shown(change.after))
        what = attribute or ("added" if change.before is ABSENT else "removed")
        alike.setdefault((what, *values), []).append(name)
    for (what, old, new), named in alike.items():
        names = dict.fromkeys(name for name in named if what not in ("begin", "size_bytes") or name not in refiled)
        if not names:
            continue
        one = len(names) == 1
        subject = f"tensor {next(iter(names))}" if one else f"{len(names)} tensors"
        if what in ("added", "removed"):
            yield subject, what
        elif what in ("begin", "size_bytes"):
            yield subject, "stands elsewhere in its file" if one else "stand elsewhere in their file"
        else:
            yield subject, f"{'its' if one else 'their'} {what} changed: {old} → {new}"


def _name(keys: Sequence[str | int]) -> tuple[str, str]:
    """The tensor's name, and which attribute of it changed; `` for the whole row."""
    inner = keys[keys.index("tensors" if "tensors" in keys else "decoded") + 1 :]
    if not inner:
        return "", ""
    words = [str(key) for key in inner[1:]]
    if words == ["0"]:
        words = ["dtype"]
    if words[-1:] == ["scale"]:
        return str(inner[0]), "adapter's scale"  # of an adapter of PEFT, times the recipe's own
    return str(inner[0]), words[-1] if words[:1] == ["parts"] else ".".join(words)


def _shown(value: Any) -> str:
    text = "none" if value is ABSENT else str(value)
    return text[:19] if text.startswith("sha256:") else text
