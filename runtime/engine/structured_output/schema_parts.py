"""Traverses the subschemas of a JSON Schema and resolves its local references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_SINGLE = frozenset(
    {"additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_LISTS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAPS = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})


def parts_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The direct subschemas, each with its keyword."""
    for keyword, value in schema.items():
        if keyword in _LISTS and isinstance(value, list):
            yield from ((keyword, part) for part in value)
        elif keyword in _MAPS and isinstance(value, Mapping):
            yield from ((keyword, part) for part in value.values())
        elif keyword in _SINGLE:
            yield keyword, value


def all_parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all of its subschemas, except booleans."""
    if isinstance(schema, Mapping):
        yield schema
        for _, part in parts_of(schema):
            yield from all_parts(part)


def changed(schema: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """The schema with each subschema replaced, outer ones first; `change` leaves their subschemas in place."""
    if not isinstance(schema, Mapping):
        return schema
    new: dict[str, Any] = dict(change(schema))
    for keyword, value in new.items():
        if keyword in _LISTS and isinstance(value, list):
            new[keyword] = [changed(part, change) for part in value]
        elif keyword in _MAPS and isinstance(value, Mapping):
            new[keyword] = {name: changed(part, change) for name, part in value.items()}
        elif keyword in _SINGLE:
            new[keyword] = changed(value, change)
    return new


def is_local(reference: Any) -> bool:
    """Whether a reference is a pointer into the same schema."""
    return isinstance(reference, str) and (reference == "#" or reference.startswith("#/"))


def resolved(root: Mapping[str, Any], reference: str) -> Any:
    """The target of a local reference; true, which allows everything, if there is none."""
    part: Any = root
    for name in reference.split("/")[1:]:
        key = unquote(name).replace("~1", "/").replace("~0", "~")
        if isinstance(part, Mapping):
            part = part.get(key, True)
        elif isinstance(part, list) and key.isdecimal() and int(key) < len(part):
            part = part[int(key)]
        else:
            return True
    return part
