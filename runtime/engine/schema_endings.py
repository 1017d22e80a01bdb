"""Whether a JSON Schema has any document of finite length: one that needs itself within itself has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REFERENCE = "#/"


class Endings:
    """Asks of one schema's parts whether they have finite documents. Where it does not know, it says yes."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._pending: list[str] = []
        self._ended: set[str] = set()

    def has(self, part: Any) -> bool:
        """Whether a part of the schema has one, if no reference that is being followed is followed again."""
        if not isinstance(part, Mapping):
            return part is not False
        if "const" in part or "enum" in part:
            return True
        return (
            self._reference_ends(part.get("$ref"))
            and all(self.has(one) for one in part.get("allOf", ()))
            and all(not part.get(kind) or any(map(self.has, part[kind])) for kind in ("anyOf", "oneOf"))
            and any(self._type_ends(part, kind) for kind in _types(part))
        )

    def _reference_ends(self, reference: Any) -> bool:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith(_REFERENCE)):
            return True
        if reference in self._ended:
            return True
        if reference in self._pending:
            return False
        self._pending.append(reference)
        ends = self.has(self._resolved(reference))
        self._pending.pop()
        if ends:
            self._ended.add(reference)
        return ends

    def _resolved(self, reference: str) -> Any:
        part: Any = self._root
        for name in reference.split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            part = part.get(key, True) if isinstance(part, Mapping) else True
        return part

    def _type_ends(self, part: Mapping[str, Any], kind: str) -> bool:
        if kind == "object":
            properties = part.get("properties", {})
            return all(self.has(properties.get(name, True)) for name in part.get("required", ()))
        if kind == "array":
            least = int(part.get("minItems", 0))
            first = list(part.get("prefixItems", ()))[:least]
            return all(map(self.has, first)) and (len(first) == least or self.has(part.get("items", True)))
        return True


def _types(part: Mapping[str, Any]) -> tuple[str, ...]:
    written = part.get("type", "any")
    return (written,) if isinstance(written, str) else tuple(written)
