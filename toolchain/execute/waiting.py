"""Tracks what the nodes of a run wait for: inputs that are not known yet, and source files that are not fetched yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mlxbuild.toolchain.graph.graph import Graph


class Waiting:
    """The pending dependencies of one run. Nodes with known outputs (fetches) are never waited for as inputs."""

    def __init__(self, graph: Graph) -> None:
        self._consumers: dict[str, list[str]] = defaultdict(list)
        self._missing_inputs: dict[str, int] = {}
        self._missing_files: dict[str, set[str]] = {}
        self._readers: dict[str, list[str]] = defaultdict(list)
        for node in graph.nodes.values():
            if node.expected is None:
                needs = [label for label in node.needs if graph.nodes[label].expected is None]
                self._missing_inputs[node.label] = len(needs)
                for label in needs:
                    self._consumers[label].append(node.label)

    def resolvable(self) -> list[str]:
        """Nodes whose inputs are all known from the start."""
        return [label for label, missing in self._missing_inputs.items() if missing == 0]

    def unresolvable(self) -> list[str]:
        """Nodes whose inputs are not all known yet."""
        return [label for label, missing in self._missing_inputs.items() if missing > 0]

    def consumers(self, label: str) -> tuple[str, ...]:
        """The nodes that use a node's outputs as inputs."""
        return tuple(self._consumers[label])

    def know(self, label: str) -> list[str]:
        """Mark a node's outputs as known; returns the nodes whose inputs are now all known."""
        ready = []
        for consumer in self._consumers[label]:
            self._missing_inputs[consumer] -= 1
            if self._missing_inputs[consumer] == 0:
                ready.append(consumer)
        return ready

    def doubt(self, producer: str, consumer: str) -> None:
        """Mark a producer's outputs as unknown again; one consumer must wait for them."""
        self._missing_inputs[consumer] += 1
        self._consumers[producer] = [consumer]

    def wait_for_files(self, label: str, fetches: Iterable[str]) -> None:
        """Make a node wait for source files."""
        self._missing_files[label] = set(fetches)
        for fetch in fetches:
            self._readers[fetch].append(label)

    def waiting_for_files(self) -> tuple[str, ...]:
        """All nodes that wait for source files."""
        return tuple(self._missing_files)

    def have_file(self, fetch: str) -> list[str]:
        """Mark a source file as fetched; returns the nodes that now have all of their files."""
        ready = []
        for label in self._readers.pop(fetch, []):
            missing = self._missing_files.get(label)
            if missing is not None:
                missing.discard(fetch)
                if not missing:
                    del self._missing_files[label]
                    ready.append(label)
        return ready

    def give_up(self, label: str) -> list[str]:
        """Mark a node or a fetch as failed; returns everything that waited for it directly."""
        self._missing_files.pop(label, None)
        readers = self._readers.pop(label, [])
        for reader in readers:
            self._missing_files.pop(reader, None)
        return [*self._consumers[label], *readers]
