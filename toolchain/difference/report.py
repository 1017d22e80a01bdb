"""Formats the difference between two artifacts as text or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.toolchain.difference.artifacts import ArtifactDifference, Side
from mlxbuild.toolchain.difference.tensors import TensorDifference

_TITLES = {
    "recipe": "recipe",
    "lock": "lock",
    "defaults": "defaults",
    "facts": "facts",
    "config": "config.json",
    "description": "description",
    "evidence": "evidence in this store",
}

_WORDS = {
    "added": "added",
    "removed": "removed",
    "shape": "of another shape",
    "precision": "of another precision",
    "values": "of other values",
}


def to_json(found: ArtifactDifference) -> dict[str, Any]:
    """The whole difference as plain JSON data."""
    return {
        "equal": found.equal,
        "before": _side(found.before),
        "after": _side(found.after),
        **{part: [it.to_json() for it in found.documents.get(part, ())] for part in _TITLES},
        "template": list(found.template),
        "tokenizer": found.tokenizer.to_json() if found.tokenizer else None,
        "tensors": {block: [it.to_json() for it in inner] for block, inner in found.tensors.items()},
        "same_weights": {
            "files": len(found.same_weights),
            "size": sum(blob.size_bytes for blob in found.same_weights),
        },
        "files": [it.to_json() for it in found.files],
    }


def _side(side: Side) -> dict[str, Any]:
    return {"digest": str(side.digest), "size": side.size_bytes, "files": side.files}


def lines(found: ArtifactDifference, *, every_tensor: bool = False) -> Iterator[str]:
    """The difference as text lines: a summary of each block, or `every_tensor`."""
    if found.equal:
        yield f"both are {found.before.digest}"
        return
    yield f"- {found.before.digest} {format_bytes(found.before.size_bytes)}, {found.before.files} files"
    yield f"+ {found.after.digest} {format_bytes(found.after.size_bytes)}, {found.after.files} files"
    for part, title in _TITLES.items():
        if changes := found.documents.get(part):
            yield title
            yield from (f"  {change}" for change in changes)
    if found.template:
        yield "template"
        yield from (f"  {line}" for line in found.template)
    if found.tokenizer is not None:
        yield "tokenizer"
        yield from (f"  {line}" for line in found.tokenizer.lines())
    yield from _weights(found, every_tensor)
    yield "files"
    for file in found.files:
        sizes = [format_bytes(blob.size_bytes) if blob else "none" for blob in (file.before, file.after)]
        yield f"  {file.path}: {sizes[0]} -> {sizes[1]}"


def _weights(found: ArtifactDifference, every_tensor: bool) -> Iterator[str]:
    shared = sum(blob.size_bytes for blob in found.same_weights)
    count = len(found.same_weights)
    same = "1 file is the same" if count == 1 else f"{count} files are the same"
    if not found.tensors:
        yield f"weights: no tensor differs ({same}, {format_bytes(shared)})"
        return
    yield f"weights: {same} ({format_bytes(shared)})"
    for block, differing in found.tensors.items():
        yield f"  {block}: {_summary(differing)}"
        if every_tensor:
            yield from (f"    {_tensor(it)}" for it in differing)


def _summary(differing: Sequence[TensorDifference]) -> str:
    kinds = [it.kind for it in differing]
    counted = ", ".join(f"{kinds.count(kind)} {_WORDS[kind]}" for kind in dict.fromkeys(kinds))
    measured = [it for it in differing if it.largest is not None]
    if not measured:
        return counted
    farthest = max(measured, key=lambda it: (math.isnan(it.largest or 0), it.largest or 0))
    return f"{counted}; largest difference {_number(farthest.largest)} in {farthest.name}"


def _tensor(it: TensorDifference) -> str:
    one, other = it.before, it.after
    if one is None or other is None:
        only = one or other
        assert only is not None
        return f"{'+' if one is None else '-'} {it.name} {list(only.shape)} {only.precision}"
    if it.kind == "shape":
        what = f"{list(one.shape)} {one.precision} -> {list(other.shape)} {other.precision}"
    else:
        what = one.precision if one.precision == other.precision else f"{one.precision} -> {other.precision}"
    return f"~ {it.name} {what}" + ("" if it.largest is None else f", largest difference {_number(it.largest)}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
