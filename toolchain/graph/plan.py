"""The plan: what would happen to every action, and why, without running anything or fetching weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.cache.action_cache import ActionCache, Resolved
from mlxbuild.toolchain.cache.history import NodeHistory
from mlxbuild.toolchain.core.action import Node
from mlxbuild.toolchain.graph.contents import Contents
from mlxbuild.toolchain.graph.graph import Fetch, Graph
from mlxbuild.toolchain.graph.reasons import reasons, summarise


class Status(StrEnum):
    """What a build would do with an action."""

    HIT = "hit"
    RUN = "run"
    UNKNOWN = "unknown"
    """Its inputs come from an action that must run first; if those come out unchanged, this action is a cache hit."""
    FETCH = "fetch"
    PRESENT = "present"
    UNNEEDED = "unneeded"
    """A source file that no action that must run reads."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """An action in a plan, with its status and the reason."""

    label: str
    step: str
    status: Status
    reason: str
    key: str | None
    work_bytes: int
    seconds: float
    """Expected duration, from the last run; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of a build in an order in which they could run."""

    actions: tuple[PlannedAction, ...]

    def count(self, status: Status) -> int:
        """The number of actions with a status."""
        return sum(action.status is status for action in self.actions)

    @property
    def fetch_bytes(self) -> int:
        """Bytes that would be downloaded or read again."""
        return sum(action.work_bytes for action in self.actions if action.status is Status.FETCH)

    @property
    def seconds(self) -> float:
        """The known expected durations of all actions that must run, summed up, in seconds."""
        return sum(action.seconds for action in self.actions if action.status in (Status.RUN, Status.UNKNOWN))

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return not any(action.status in (Status.RUN, Status.UNKNOWN) for action in self.actions)


def make_plan(graph: Graph, cache: ActionCache) -> Plan:
    """Look up every action of a graph."""
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
        resolved = cache.resolve(node, outputs)
        trace = cache.find(resolved)
        if trace is None:
            missing[node.label] = resolved
        else:
            outputs[node.label] = trace.outputs
            lines[node.label] = _line(node, Status.HIT, "", str(resolved.key), trace.seconds)
    past = cache.history.of([*missing, *(label for label, line in lines.items() if line.status is Status.UNKNOWN)])
    for label, resolved in missing.items():
        lines[label] = _line(
            resolved.node,
            Status.RUN,
            reason_to_run(resolved, cache, past.get(label)),
            str(resolved.key),
            past[label].seconds if label in past else 0.0,
        )
    for label, line in lines.items():
        if line.status is Status.UNKNOWN and label in past:
            lines[label] = replace(line, seconds=past[label].seconds)
    _judge_fetches(graph, lines)
    return Plan(tuple(lines[label] for label in graph.nodes))


def reason_to_run(resolved: Resolved, cache: ActionCache, past: NodeHistory | None) -> str:
    """Why an action without a usable trace must run: refresh requested, never built, evicted, or changed inputs."""
    if cache.refreshes(resolved):
        return "asked for by --refresh"
    if cache.was_evicted(resolved):
        return "its outputs are gone from the store or were damaged"
    if past is None:
        return "never built"
    before = cache.traces.find(past.key)
    if before is None:
        return "the trace of the last build is gone"
    literals = {str(Digest.of_bytes(content)): content for content in resolved.node.literals}
    return summarise(reasons(before.record, resolved.record, Contents(cache.store, literals))) or "asked for"


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
