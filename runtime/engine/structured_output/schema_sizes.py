"""Bounds the objects of a JSON Schema to what a row of llguidance's parser chart can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.engine.structured_output.errors import MAKE_DISJOINT, FormatNotSupported
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, is_local, resolved

MOST_OPTIONAL_PROPERTIES = 450
"""In succession. Each may come next and takes four items of a row, and llguidance allows 2,000 of them."""

_MOST_ITEMS = 1_980
"""Limit for alternatives between objects; the rest of the 2,000 is for the surrounding grammar."""


def check_optional_properties(schema: Mapping[str, Any]) -> None:
    """Reject objects for which no answer could start. The schema need not be valid.

    Raises:
        FormatNotSupported: an object has too many optional properties with no required one between them.
    """
    for part in all_parts(schema):
        properties, required = part.get("properties"), part.get("required")
        if not isinstance(properties, Mapping) or len(properties) <= MOST_OPTIONAL_PROPERTIES:
            continue
        names = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if _longest_run(properties, names) > MOST_OPTIONAL_PROPERTIES:
            raise FormatNotSupported(
                f"an object has more than {MOST_OPTIONAL_PROPERTIES} optional properties after each other",
                hint="require properties, or make several objects of them",
            )


def _longest_run(properties: Mapping[str, Any], required: set[str]) -> int:
    longest = run = 0
    for name in properties:
        run = 0 if name in required else run + 1
        longest = max(longest, run)
    return longest


def check_unions(schema: Mapping[str, Any]) -> None:
    """Reject alternatives for which no answer could start, as all of them are parsed in parallel.

    Raises:
        FormatNotSupported: too many properties may come first in the alternatives together.
    """
    beginnings = _Beginnings(schema)
    for part in all_parts(schema):
        for keyword in ("anyOf", "oneOf"):
            if beginnings.items(part.get(keyword, ())) > _MOST_ITEMS:
                count = len(part[keyword])
                if keyword == "oneOf":
                    raise FormatNotSupported(
                        f"the {count} parts of a `oneOf` may overlap, and are too many for a grammar",
                        hint=MAKE_DISJOINT,
                    )
                raise FormatNotSupported(
                    f"an `anyOf` of {count} objects has more properties that may come first than a grammar holds",
                    hint="require the first property of each, as one that names its kind, or offer fewer objects",
                )


class _Beginnings:
    """The number of items of a row that schemas start with."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def items(self, parts: Sequence[Any]) -> int:
        return sum(map(self._of, parts))

    def _of(self, part: Any) -> int:
        if not isinstance(part, Mapping):
            return 0
        if id(part) not in self._known:
            self._known[id(part)] = 0  # a recursive reference adds nothing
            self._known[id(part)] = self._found(part)
        return self._known[id(part)]

    def _found(self, part: Mapping[str, Any]) -> int:
        if is_local(part.get("$ref")):
            return self._of(resolved(self._root, part["$ref"]))
        if choices := [choice for keyword in ("anyOf", "oneOf") for choice in part.get(keyword, ())]:
            return self.items(choices)
        properties, required = part.get("properties", {}), frozenset(part.get("required", ()))
        is_object = "object" in part["type"] if "type" in part else bool(properties)
        if not is_object or "const" in part or "enum" in part:
            return 0  # one that allows anything is a shared rule
        optional = next((place for place, name in enumerate(properties) if name in required), len(properties))
        is_open = part.get("additionalProperties", True) is not False or "patternProperties" in part
        return _items(optional, ends=optional == len(properties), is_open=is_open)


def _items(optional: int, *, ends: bool, is_open: bool) -> int:
    """Items of an object that starts with optional properties and may `end` after them, as measured in llguidance."""
    if optional == 0:
        return 7 if is_open else 1
    return (4 * optional - 1 if ends else 3 * optional + 1) + 9 * is_open
