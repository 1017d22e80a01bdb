"""Emits the events of a run's actions, and records their outcomes for `why` and `plan`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from mlxbuild.toolchain.cache.action_cache import ActionCache, Resolved
from mlxbuild.toolchain.events.model import ActionFinished, ActionProgress, ActionStarted, Outcome, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.graph.graph import Graph
from mlxbuild.toolchain.graph.plan import reason_to_run

_DONE: frozenset[Outcome] = frozenset({"hit", "ran", "shared"})


class RunRecorder:
    """The events of one run, and the history that `why` and `plan` read. Used by the execution's thread alone."""

    def __init__(self, graph: Graph, cache: ActionCache, stream: EventStream) -> None:
        self._graph = graph
        self._cache = cache
        self._stream = stream
        self._begun: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def explain(self, misses: Sequence[Resolved]) -> None:
        """Determine why actions have to run."""
        past = self._cache.history.of([resolved.node.label for resolved in misses]) if misses else {}
        for resolved in misses:
            label = resolved.node.label
            self._reasons[label] = reason_to_run(resolved, self._cache, past.get(label))

    def because(self, label: str, reason: str) -> None:
        """Set the reason for an action's outcome."""
        self._reasons[label] = reason

    def begun(self, label: str) -> None:
        """Record that an action has started to run."""
        self._begun[label] = time.perf_counter()
        self._stream.emit(ActionStarted(label, self._reasons.get(label, ""), self._graph.nodes[label].work_bytes))

    def progressed(self, label: str, done_bytes: int) -> None:
        """Record that an action has processed more bytes."""
        self._stream.emit(ActionProgress(label, done_bytes))

    def seconds_since_begun(self, label: str) -> float:
        """How long an action has been running in seconds; 0 if it has not run."""
        now = time.perf_counter()
        return now - self._begun.get(label, now)

    def finished(self, label: str, outcome: Outcome, seconds: float, resolved: Resolved | None) -> None:
        """Record the outcome of an action."""
        self._seconds[label] = seconds
        self._stream.emit(
            ActionFinished(
                label,
                outcome,
                round(seconds, 4),
                str(resolved.key) if resolved else None,
                self._reasons.get(label, ""),
                self._graph.nodes[label].work_bytes,
            )
        )

    def remember(self, resolved: Mapping[str, Resolved], outcomes: Mapping[str, Outcome]) -> None:
        """Store the keys and outcomes for later runs."""
        kept = self._cache.history.record(
            {
                label: (each.key, self._seconds.get(label, 0.0))
                for label, each in resolved.items()
                if outcomes.get(label) in _DONE
            }
        )
        if not kept:
            self._stream.emit(Warned("the history could not be written, so `why` will not know of this run"))
