"""The plan: what would happen to every action, and why. It runs nothing and moves no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mlxbuild.registry.core.digest import Blob
from mlxbuild.toolchain.cache.history import History, NodeHistory
from mlxbuild.toolchain.cache.traces import TraceStore
from mlxbuild.toolchain.core.action import Node
from mlxbuild.toolchain.graph.explain import differences, summarise
from mlxbuild.toolchain.graph.graph import Fetch, Graph
from mlxbuild.toolchain.graph.lookup import Lookup, Resolved


class Status(StrEnum):
    """What would happen to an action."""

    HIT = "hit"
    RUN = "run"
    UNKNOWN = "unknown"
    """Its inputs come from an action that must run first; if those come out the same, this is a hit."""
    FETCH = "fetch"
    PRESENT = "present"
    UNNEEDED = "unneeded"
    """A source file that nothing which runs would read."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One line of a plan."""

    label: str
    step: str
    status: Status
    reason: str
    key: str | None
    work_bytes: int
    seconds: float
    """Expected, from the last time; 0 where nothing is known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do, in an order in which it could."""

    actions: tuple[PlannedAction, ...]

    def count(self, status: Status) -> int:
        """How many actions have a status."""
        return sum(action.status is status for action in self.actions)

    @property
    def fetch_bytes(self) -> int:
        """Bytes that would come over the network or be read anew."""
        return sum(action.work_bytes for action in self.actions if action.status is Status.FETCH)

    @property
    def seconds(self) -> float:
        """Expected work of what runs, in seconds of one worker, as far as it is known."""
        return sum(action.seconds for action in self.actions if action.status in (Status.RUN, Status.UNKNOWN))

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not any(action.status in (Status.RUN, Status.UNKNOWN) for action in self.actions)


def make_plan(graph: Graph, lookup: Lookup, traces: TraceStore, history: History) -> Plan:
    """Look every action of a graph up."""
    outputs: dict[str, Mapping[str, Blob]] = {}
    lines: dict[str, PlannedAction] = {}
    missing: dict[str, Resolved] = {}
    for node in graph.nodes.values():
        if node.expected is not None:
            outputs[node.label] = node.expected
            continue
        unknown = sorted(node.needs - outputs.keys())
        if unknown:
            lines[node.label] = _line(node, Status.UNKNOWN, f"after {_some(unknown)}")
            continue
        resolved = lookup.resolve(node, outputs)
        trace = lookup.find(resolved)
        if trace is None:
            missing[node.label] = resolved
        else:
            outputs[node.label] = trace.outputs
            lines[node.label] = _line(node, Status.HIT, "", str(resolved.key), trace.seconds)
    past = history.of([*missing, *(label for label, line in lines.items() if line.status is Status.UNKNOWN)])
    for label, resolved in missing.items():
        lines[label] = _line(
            resolved.node,
            Status.RUN,
            reason_to_run(resolved, lookup, traces, past.get(label)),
            str(resolved.key),
            past[label].seconds if label in past else 0.0,
        )
    _judge_fetches(graph, lines)
    return Plan(tuple(lines[label] for label in graph.nodes))


def reason_to_run(resolved: Resolved, lookup: Lookup, traces: TraceStore, past: NodeHistory | None) -> str:
    """Why an action without a usable trace must run: asked for, never built, evicted, or which inputs changed."""
    if lookup.refreshes(resolved):
        return "asked for by --refresh"
    if lookup.was_evicted(resolved):
        return "its outputs are gone from the store or were damaged"
    if past is None:
        return "never built"
    before = traces.find(past.key)
    if before is None:
        return "the trace of the last build is gone"
    return summarise(differences(before.record, resolved.record)) or "asked for"


def _judge_fetches(graph: Graph, lines: dict[str, PlannedAction]) -> None:
    wanted = {
        fetch
        for label, line in lines.items()
        if line.status in (Status.RUN, Status.UNKNOWN)
        for fetch in graph.fetch_nodes_of(graph.nodes[label])
    }
    for label, fetch in graph.fetches.items():
        node = graph.nodes[label]
        if label not in wanted:
            lines[label] = _line(node, Status.UNNEEDED, "nothing that runs reads it")
        elif fetch.catalogue.present(fetch.source, fetch.file):
            lines[label] = _line(node, Status.PRESENT, _derived_from(fetch) or "on this machine")
        else:
            place = f"from {fetch.source.kind} {fetch.source.identity}"
            lines[label] = _line(node, Status.FETCH, _derived_from(fetch) or place)


def _derived_from(fetch: Fetch) -> str | None:
    if not fetch.file.derived:
        return None
    if fetch.source.gguf is None:
        return f"derived from other files of {fetch.source.identity}"
    return f"derived from the header of {fetch.source.gguf}"


def _line(node: Node, status: Status, reason: str, key: str | None = None, seconds: float = 0.0) -> PlannedAction:
    return PlannedAction(node.label, node.step, status, reason, key, node.work_bytes, seconds)


def _some(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
