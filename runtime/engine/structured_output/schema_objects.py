"""Closes the objects of a JSON Schema: one that lists its properties and says nothing of others has no others.

The standard leaves such objects open, and a small model then goes on inventing properties until it is cut. An object
stays open where another part of the schema has a say in its properties, as closing it could leave nothing that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, changed, is_local, parts_of, resolved
from mlxbuild.runtime.engine.structured_output.schema_unions import Parts

_IN_PLACE = frozenset({"$ref", "allOf", "anyOf", "else", "if", "not", "oneOf", "then"})
"""Keywords whose schemas speak of the very value that theirs speaks of."""
_OTHER_NAMES = frozenset(
    {"$dynamicRef", "$recursiveRef", "additionalProperties", "dependencies", "dependentRequired", "dependentSchemas"}
    | {"patternProperties", "propertyNames", "unevaluatedProperties"}
)
"""Keywords that have a say in which properties there are besides those that are listed."""
_OF_OBJECTS = _OTHER_NAMES | {"maxProperties", "minProperties", "properties", "required"}


def with_closed_objects(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with `additionalProperties: false` wherever that is what its author means. It lets through less."""
    if any("$ref" in part and not is_local(part["$ref"]) for part in all_parts(schema)):
        return schema  # where such a reference leads is not known here
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
    """The parts of a schema whose values other parts speak of, too."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = Parts(root)
        self._seen: set[tuple[int, bool]] = set()
        self._walk(root, is_shared=False)

    def __contains__(self, part: Mapping[str, Any]) -> bool:
        return (id(part), True) in self._seen

    def _walk(self, part: Any, *, is_shared: bool) -> None:
        if not isinstance(part, Mapping) or (id(part), is_shared) in self._seen:
            return
        self._seen.add((id(part), is_shared))
        is_shared = is_shared or not _OF_OBJECTS.isdisjoint(part) or len(_IN_PLACE & part.keys()) > 1
        overlaps = "oneOf" in part and not self._parts.are_told_apart(part["oneOf"])
        for keyword, below in parts_of(part):
            if keyword == "anyOf":
                self._walk(below, is_shared=is_shared)
            elif keyword == "oneOf":
                self._walk(below, is_shared=is_shared or overlaps)
            else:
                self._walk(below, is_shared=keyword in _IN_PLACE or keyword in ("dependencies", "dependentSchemas"))
        if is_local(part.get("$ref")):
            self._walk(resolved(self._root, part["$ref"]), is_shared=is_shared)
