"""Finds the location in the file for a path in the data, in a recipe or one point of its matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mlxbuild.registry.core.errors import Location
from mlxbuild.toolchain.spec.document import Document
from mlxbuild.toolchain.spec.problems import Code, Problem

Path = tuple[str | int, ...]


class NodePosition(NamedTuple):
    """The nodes of one value; the root and list items have no key."""

    key: Node | None
    value: Node


class Positions:
    """Finds nodes by path; `replaced` holds the nodes of values that come from an axis of the matrix."""

    def __init__(self, document: Document, replaced: Mapping[Path, NodePosition] | None = None) -> None:
        self.document = document
        self.replaced = replaced or {}

    def find(self, path: Path) -> NodePosition | None:
        """The place of a path, or None if the file has no such value."""
        place: NodePosition | None = self.replaced.get((), NodePosition(None, self.document.root))
        for depth, part in enumerate(path, 1):
            there = self.replaced.get(path[:depth])
            if there is None and place is not None:
                there = _child(place.value, part)
            place = there
        return place

    def nearest(self, path: Path) -> NodePosition:
        """The place of a path, or of the closest existing parent."""
        for length in range(len(path), 0, -1):
            place = self.find(path[:length])
            if place is not None:
                return place
        return NodePosition(None, self.document.root)

    def at_key(self, code: Code, message: str, path: Path, note: str = "", hint: str | None = None) -> Problem:
        """A problem whose marker is under the key of a path; for the whole recipe, under its first key."""
        place = self.nearest(path)
        return self.document.problem(code, message, place.key or _first(place.value), note, hint)

    def at_value(self, code: Code, message: str, path: Path, note: str = "", hint: str | None = None) -> Problem:
        """A problem whose marker is under the value of a path, or under its key if the value spans several lines."""
        place = self.nearest(path)
        node = place.value
        if node.start_mark.line != node.end_mark.line or node.start_mark.index == node.end_mark.index:
            node = place.key or _first(node)
        return self.document.problem(code, message, node, note, hint)

    def origins(self) -> dict[str, Location]:
        """Dotted key to the location of its value, for top-level keys and those of maps directly below."""
        found: dict[str, Location] = {}
        for key, place in _pairs(self.document.root):
            self._add(found, key, place.value)
        return found

    def replaced_origins(self, origins: Mapping[str, Location]) -> dict[str, Location]:
        """The recipe's own locations, with those of values that come from the matrix."""
        found = dict(origins)
        for path, place in self.replaced.items():
            key = ".".join(map(str, path))
            for stale in [other for other in found if other.startswith(f"{key}.")]:
                del found[stale]
            self._add(found, key, place.value)
        return found

    def _add(self, found: dict[str, Location], key: str, node: Node) -> None:
        found[key] = self._location(node)
        for name, below in _pairs(node):
            found[f"{key}.{name}"] = self._location(below.value)

    def _location(self, node: Node) -> Location:
        return Location(self.document.file, node.start_mark.line + 1, node.start_mark.column + 1)


def _pairs(node: Node) -> list[tuple[str, NodePosition]]:
    if not isinstance(node, MappingNode):
        return []
    return [(key.value, NodePosition(key, value)) for key, value in node.value if isinstance(key, ScalarNode)]


def _child(node: Node, part: str | int) -> NodePosition | None:
    if isinstance(node, SequenceNode):
        if isinstance(part, int) and part < len(node.value):
            return NodePosition(None, node.value[part])
        return None
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == part:
                return NodePosition(key, value)
    return None


def _first(node: Node) -> Node:
    if isinstance(node, MappingNode | SequenceNode) and node.value and node.start_mark.line != node.end_mark.line:
        first = node.value[0]
        return first[0] if isinstance(first, tuple) else _first(first)
    return node
