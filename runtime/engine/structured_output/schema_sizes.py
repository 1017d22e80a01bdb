"""Bounds the objects of a JSON Schema to what llguidance's parser holds in one row of its chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.engine.structured_output.errors import TELLING_APART, FormatNotSupported
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, is_local, resolved

MOST_OPTIONAL_PROPERTIES = 450
"""After each other. Any of them may come next, each is four items of a row, and llguidance takes 2,000 in one."""

_MOST_ITEMS = 1_980
"""At the beginning of a document that may be one of several objects; some of the 2,000 are for what stands around."""


def check_optional_properties(schema: Mapping[str, Any]) -> None:
    """Refuse objects of which no answer could be begun. The schema need not be a valid one.

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
    """Refuse a choice between objects of which no answer could be begun: all of them are held beside each other.

    Raises:
        FormatNotSupported: too many properties may come first in a choice's objects, taken together.
    """
    beginnings = _Beginnings(schema)
    for part in all_parts(schema):
        for keyword in ("anyOf", "oneOf"):
            if beginnings.items(part.get(keyword, ())) > _MOST_ITEMS:
                count = len(part[keyword])
                if keyword == "oneOf":
                    raise FormatNotSupported(
                        f"the {count} parts of a `oneOf` may overlap, and are too many to be held", hint=TELLING_APART
                    )
                raise FormatNotSupported(
                    f"an `anyOf` of {count} objects has more properties that may come first than a grammar holds",
                    hint="require the first property of each, as one that names its kind, or offer fewer objects",
                )


class _Beginnings:
    """How many items of a row the objects of a schema begin with."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def items(self, parts: Sequence[Any]) -> int:
        return sum(map(self._of, parts))

    def _of(self, part: Any) -> int:
        if not isinstance(part, Mapping):
            return 0
        if id(part) not in self._known:
            self._known[id(part)] = 0  # of one that leads to itself, nothing is added
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
            return 0  # one that takes anything is a rule that all share
        optional = next((place for place, name in enumerate(properties) if name in required), len(properties))
        is_open = part.get("additionalProperties", True) is not False or "patternProperties" in part
        return _items(optional, ends=optional == len(properties), is_open=is_open)


def _items(optional: int, *, ends: bool, is_open: bool) -> int:
    """As llguidance was seen to count: of an object that begins with optional properties, and may end after them."""
    if optional == 0:
        return 7 if is_open else 1
    return (4 * optional - 1 if ends else 3 * optional + 1) + 9 * is_open
