"""Decides whether a JSON Schema has a finite document; a schema that requires itself within itself has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlxbuild.runtime.engine.structured_output.schema_parts import is_local, resolved

_MOST_STEPS = 100_000
"""Maximal number of visited schemas, as references are visited until nothing changes; takes a quarter of a second."""


def has_ending(schema: Mapping[str, Any]) -> bool:
    """Whether some valid document is finite. If it cannot be decided, the answer is yes."""
    return _Endings(schema).of(schema)


class _Endings:
    """Collects the references with finite documents, starting with those that depend on no other one."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._ended: set[str] = set()
        self._steps = 0
        waiting = {reference: resolved(root, reference) for reference in _local_references(root)}
        while found := {reference for reference, part in waiting.items() if self.of(part)}:
            self._ended |= found
            waiting = {reference: part for reference, part in waiting.items() if reference not in found}

    def of(self, part: Any) -> bool:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            return True
        if not isinstance(part, Mapping):
            return part is not False
        if "const" in part or "enum" in part:
            return True
        return (
            self._of_reference(part.get("$ref"))
            and all(self.of(one) for one in part.get("allOf", ()))
            and all(not part.get(kind) or any(map(self.of, part[kind])) for kind in ("anyOf", "oneOf"))
            and any(self._of_type(part, kind) for kind in _types(part))
        )

    def _of_reference(self, reference: Any) -> bool:
        return not is_local(reference) or reference in self._ended

    def _of_type(self, part: Mapping[str, Any], kind: str) -> bool:
        if kind == "object":
            properties = part.get("properties", {})
            return all(self.of(properties.get(name, True)) for name in part.get("required", ()))
        if kind == "array":
            least = int(part.get("minItems", 0))
            first = list(part.get("prefixItems", ()))[:least]
            return all(map(self.of, first)) and (len(first) == least or self.of(part.get("items", True)))
        return True


def _local_references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str) and is_local(reference):
            yield reference
        for item in value.values():
            yield from _local_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _local_references(item)


def _types(part: Mapping[str, Any]) -> tuple[str, ...]:
    written = part.get("type", "any")
    return (written,) if isinstance(written, str) else tuple(written)
