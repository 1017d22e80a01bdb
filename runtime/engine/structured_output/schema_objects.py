"""Closes objects of a JSON Schema: those that list properties and say nothing about others get no others.

The standard leaves such objects open, and small models would then invent properties up to the length limit. An object
stays open if other schemas apply to its properties too, as closing it could leave no valid document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, changed, is_local, parts_of, resolved
from mlxbuild.runtime.engine.structured_output.schema_unions import SubschemaComparison

_IN_PLACE = frozenset({"$ref", "allOf", "anyOf", "else", "if", "not", "oneOf", "then"})
"""Keywords whose schemas apply to the same value as their parent."""
_OTHER_NAMES = frozenset(
    {"$dynamicRef", "$recursiveRef", "additionalProperties", "dependencies", "dependentRequired", "dependentSchemas"}
    | {"patternProperties", "propertyNames", "unevaluatedProperties"}
)
"""Keywords that affect which properties are allowed besides the listed ones."""
_OF_OBJECTS = _OTHER_NAMES | {"maxProperties", "minProperties", "properties", "required"}


def with_closed_objects(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with `additionalProperties: false` wherever its author means that; it is stricter than before."""
    if any("$ref" in part and not is_local(part["$ref"]) for part in all_parts(schema)):
        return schema  # external references cannot be resolved here
    shared = _SharedObjects(schema)

    def close(part: Mapping[str, Any]) -> Mapping[str, Any]:
        if part in shared or not _lists_its_properties(part):
            return part
        unlisted = {name: True for name in part.get("required", ()) if name not in part["properties"]}
        return {**part, "properties": {**part["properties"], **unlisted}, "additionalProperties": False}

    closed: Mapping[str, Any] = changed(schema, close)
    return closed


def _lists_its_properties(part: Mapping[str, Any]) -> bool:
    if not isinstance(part.get("properties"), Mapping) or not (_OTHER_NAMES | _IN_PLACE).isdisjoint(part):
        return False
    return int(part.get("minProperties", 0)) <= len({*part["properties"], *part.get("required", ())})


class _SharedObjects:
    """Schemas whose values other schemas apply to, too."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = SubschemaComparison(root)
        self._seen: set[tuple[int, bool]] = set()
        self._walk(root, is_shared=False)

    def __contains__(self, part: Mapping[str, Any]) -> bool:
        return (id(part), True) in self._seen

    def _walk(self, part: Any, *, is_shared: bool) -> None:
        if not isinstance(part, Mapping) or (id(part), is_shared) in self._seen:
            return
        self._seen.add((id(part), is_shared))
        is_shared = is_shared or not _OF_OBJECTS.isdisjoint(part) or len(_IN_PLACE & part.keys()) > 1
        overlaps = "oneOf" in part and not self._parts.are_disjoint(part["oneOf"])
        for keyword, below in parts_of(part):
            if keyword == "anyOf":
                self._walk(below, is_shared=is_shared)
            elif keyword == "oneOf":
                self._walk(below, is_shared=is_shared or overlaps)
            else:
                self._walk(below, is_shared=keyword in _IN_PLACE or keyword in ("dependencies", "dependentSchemas"))
        if is_local(part.get("$ref")):
            self._walk(resolved(self._root, part["$ref"]), is_shared=is_shared)
