"""Decides whether the alternatives of a `oneOf` are disjoint. If it cannot be decided, the answer is no."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, product
from typing import Any

from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, changed, is_local, resolved

_TYPES = ("array", "boolean", "null", "number", "object", "string")
_SIZES = {"array": ("minItems", "maxItems"), "string": ("minLength", "maxLength")}
_DEEPEST = 4
"""Maximal depth of references and nested properties that are compared."""
_MOST_PARTS = 100
"""Maximal number of alternatives without a tag."""
_MOST_STEPS = 200_000
"""Maximal number of comparisons of two schemas: about half a second. The same number of properties and values is
searched for tags, which only references can exceed.
"""
_UNBOUNDED = float("inf")


def without_needless_one_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with `anyOf` instead of each `oneOf` that means the same."""
    if any("/oneOf/" in str(part.get("$ref")) for part in all_parts(schema)):
        return schema
    parts = SubschemaComparison(schema)

    def change(part: Mapping[str, Any]) -> Mapping[str, Any]:
        if "oneOf" not in part or "anyOf" in part or not parts.are_disjoint(part["oneOf"]):
            return part
        return {("anyOf" if keyword == "oneOf" else keyword): value for keyword, value in part.items()}

    told: Mapping[str, Any] = changed(schema, change)
    return told


class SubschemaComparison:
    """Compares the subschemas of one schema, within a second in total."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        """`root` is the schema in which references are resolved."""
        self._root = root
        self._steps = self._looked_through = 0
        self._listed: dict[int, tuple[Any, frozenset[Any]]] = {}

    def are_disjoint(self, parts: Sequence[Any]) -> bool:
        """Whether no value fits two of the alternatives. Those with a tag are compared only if they share a value of
        it.
        """
        tags = self._tags(parts)
        tagged = [parts[number] for number in tags]
        others = [part for number, part in enumerate(parts) if number not in tags]
        sharing: dict[Any, list[Any]] = defaultdict(list)
        for number, values in tags.items():
            for value in values:
                sharing[value].append(parts[number])
        pairs = chain(
            combinations(others, 2),
            product(others, tagged),
            chain.from_iterable(combinations(each, 2) for each in sharing.values()),
        )
        return len(others) <= _MOST_PARTS and all(self._disjoint(one, other, 0) for one, other in pairs)

    def _tags(self, parts: Sequence[Any]) -> Mapping[int, frozenset[Any]]:
        """The values of the property that distinguishes the most alternatives, for each one that requires it."""
        found: dict[str, dict[int, frozenset[Any]]] = defaultdict(dict)
        for number, part in enumerate(map(self._dereferenced, parts)):
            if not isinstance(part, Mapping) or _types(part) != {"object"}:
                continue
            for name in part.get("required", ()):
                listed = self._dereferenced(part.get("properties", {}).get(name))
                values = (_values(listed) if isinstance(listed, Mapping) else None) or ()
                self._looked_through += 1 + len(values)
                if self._looked_through > _MOST_STEPS:
                    return {}
                if values:
                    found[name][number] = self._distinct(listed, values)
        return max(found.values(), key=lambda each: (len(each), len(frozenset().union(*each.values()))), default={})

    def _dereferenced(self, part: Any) -> Any:
        for _ in range(_DEEPEST):
            if not isinstance(part, Mapping) or not is_local(part.get("$ref")):
                break
            part = resolved(self._root, part["$ref"])
        return part

    def _disjoint(self, one: Any, other: Any, depth: int) -> bool:
        self._steps += 1
        if one is False or other is False:
            return True
        if max(self._steps - _MOST_STEPS, depth - _DEEPEST) > 0:
            return False
        if not isinstance(one, Mapping) or not isinstance(other, Mapping):
            return False
        for part, is_first in ((one, True), (other, False)):
            if "$ref" in part:
                target = resolved(self._root, part["$ref"]) if is_local(part["$ref"]) else True
                return self._disjoint(target, other, depth + 1) if is_first else self._disjoint(one, target, depth + 1)
        values, other_values = _values(one), _values(other)
        if values is not None and other_values is not None:
            return self._distinct(one, values).isdisjoint(self._distinct(other, other_values))
        if values is not None:
            return all(self._disjoint(_only(value), other, depth + 1) for value in values)
        if other_values is not None:
            return all(self._disjoint(one, _only(value), depth + 1) for value in other_values)
        return all(self._disjoint_in_type(kind, one, other, depth) for kind in _types(one) & _types(other))

    def _disjoint_in_type(self, kind: str, one: Mapping[str, Any], other: Mapping[str, Any], depth: int) -> bool:
        """Whether no value of that type fits both."""
        if kind == "number":
            (low, high), (other_low, other_high) = _range(one), _range(other)
            return high < other_low or other_high < low
        if kind in _SIZES:
            least, most = _SIZES[kind]
            return bool(
                one.get(most, _UNBOUNDED) < other.get(least, 0) or other.get(most, _UNBOUNDED) < one.get(least, 0)
            )
        if kind == "object":
            needed = set(one.get("required", ())) & set(other.get("required", ()))
            listed, other_listed = one.get("properties", {}), other.get("properties", {})
            return any(
                self._disjoint(listed.get(name, True), other_listed.get(name, True), depth + 1) for name in needed
            )
        return False

    def _distinct(self, part: Any, values: Sequence[Any]) -> frozenset[Any]:
        """The values that a schema lists, compared as in JSON Schema: 1 equals 1.0, and true does not equal 1."""
        if id(part) not in self._listed:
            self._listed[id(part)] = (part, frozenset(map(_comparable, values)))
        return self._listed[id(part)][1]


def _types(part: Mapping[str, Any]) -> set[str]:
    written = part.get("type", list(_TYPES))
    return {"number" if each == "integer" else each for each in ([written] if isinstance(written, str) else written)}


def _range(part: Mapping[str, Any]) -> tuple[tuple[float, int], tuple[float, int]]:
    """Both bounds, each with an offset by which an exclusive bound lies inside."""
    lows: list[tuple[float, int]] = [(part.get("minimum", -_UNBOUNDED), 0)]
    highs: list[tuple[float, int]] = [(part.get("maximum", _UNBOUNDED), 0)]
    if not isinstance(part.get("exclusiveMinimum", False), bool):
        lows.append((part["exclusiveMinimum"], 1))
    if not isinstance(part.get("exclusiveMaximum", False), bool):
        highs.append((part["exclusiveMaximum"], -1))
    return max(lows), min(highs)


def _values(part: Mapping[str, Any]) -> list[Any] | None:
    """The only values that a schema allows; None if it does not list them."""
    return [part["const"]] if "const" in part else part.get("enum")


def _only(value: Any) -> Mapping[str, Any]:
    """A schema for a single value, without listing it, as close as the comparison can use."""
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int | float):
        return {"type": "number", "minimum": value, "maximum": value}
    if isinstance(value, str):
        return {"type": "string", "minLength": len(value), "maxLength": len(value)}
    if isinstance(value, list):
        return {"type": "array", "minItems": len(value), "maxItems": len(value)}
    if isinstance(value, Mapping):
        named = {name: {"const": each} for name, each in value.items()}
        return {"type": "object", "properties": named, "required": list(value)}
    return {"type": "null"}


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return ("array", *map(_comparable, value))
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _comparable(each)) for name, each in value.items()))
    return (type(value) if isinstance(value, bool) else None, value)
