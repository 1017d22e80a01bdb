"""The build graph: nodes by label in topological order, and the fetches that they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.core.action import Node
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue


class BrokenGraph(UserError):
    """Two different nodes have the same label, a dependency is missing, or there is a cycle."""

    code = "graph"


@dataclass(frozen=True, slots=True)
class Fetch:
    """A source file that a node reads: its source, and the catalogue that fetches it."""

    catalogue: SourceCatalogue
    source: LockedSource
    file: LockedFile


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order: each comes after its dependencies."""

    nodes: Mapping[str, Node]
    fetches: Mapping[str, Fetch]
    """Label of a fetch node to the file that it fetches."""

    def fetch_nodes_of(self, node: Node) -> tuple[str, ...]:
        """Labels of the fetches that must finish before the node runs."""
        return tuple(label for label in node.after if label in self.fetches)


def assemble(nodes: Iterable[Node], fetches: Mapping[str, Fetch]) -> Graph:
    """Sort nodes topologically. Equal nodes with the same label become one.

    Raises:
        BrokenGraph: labels clash, a dependency is missing, or there is a cycle.
    """
    by_label: dict[str, Node] = {}
    for node in nodes:
        known = by_label.setdefault(node.label, node)
        if known is not node and known != node:
            raise BrokenGraph(
                f"two different actions are both called `{node.label}`",
                hint="give the recipes different names, or the variants different tags",
            )
    needed = {label: node.needs | frozenset(node.after) for label, node in by_label.items()}
    for label, others in needed.items():
        for other in others:
            if other not in by_label:
                raise BrokenGraph(f"`{label}` needs `{other}`, which is not in the graph")
    try:
        order = tuple(TopologicalSorter(needed).static_order())
    except CycleError as error:
        loop = " → ".join(reversed(error.args[1]))
        raise BrokenGraph(f"actions depend on each other in a cycle: {loop}") from error
    return Graph({label: by_label[label] for label in order}, fetches)
