"""Decides which actions of a build are due: a state machine over labels, without effects.

`Execution` asks it what to do, does that, and tells it how it went. Every action goes down this list, and may end on
the way; only `repeat` leads back up:

    waiting    some of the actions that it needs have no outputs yet
    resolved   all have, so its key can be looked up
    fetching   it has to run, and source files that it reads are still being fetched
    sharing    an action with the same key is about to run, and will end both
    ready      it can be given to an executor
    running    an executor has it

A source file is fetched once, and only if an action that has to run reads it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from mlxbuild.toolchain.events.model import Outcome
from mlxbuild.toolchain.graph.graph import Graph

STOPPED = "stopped after a failure"


class State(Enum):
    """Where an action stands that has not ended."""

    WAITING = auto()
    RESOLVED = auto()
    FETCHING = auto()
    SHARING = auto()
    READY = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Ended:
    """An action or a fetch has an outcome; it is skipped for a reason."""

    label: str
    outcome: Outcome
    reason: str = ""


class Schedule:
    """The actions of one build, and the fetches of the source files that they read."""

    def __init__(
        self, needs: Mapping[str, Collection[str]], files: Mapping[str, Collection[str]], *, keep_going: bool = False
    ) -> None:
        """An acyclic graph.

        Args:
            needs: Every action, with the actions whose outputs it needs.
            files: For some actions, the fetches that must be done before they run.
            keep_going: Whether a failure spares the actions that do not need the one that failed.
        """
        self.outcomes: dict[str, Outcome] = {}
        self._files = files
        self._keep_going = keep_going
        self._stopping = False
        self._states: dict[str, State] = {}
        self._awaited: dict[str, set[str]] = {}
        self._waiters: dict[str, dict[str, None]] = defaultdict(dict)
        self._resolved: list[str] = []
        self._ready: deque[str] = deque()
        self._running: set[str] = set()
        self._fetches: list[str] = []
        self._fetching: set[str] = set()
        self._runners: dict[Hashable, str] = {}
        self._keys: dict[str, Hashable] = {}
        self._repeated: set[str] = set()
        for label, others in needs.items():
            self._wait(label, State.WAITING, others)

    @classmethod
    def of(cls, graph: Graph, *, keep_going: bool = False) -> Schedule:
        """The schedule of a graph; nodes whose outputs are known in advance are fetches."""
        actions = [node for node in graph.nodes.values() if node.expected is None]
        known = graph.nodes.keys() - {node.label for node in actions}
        needs = {node.label: sorted(node.needs - known) for node in actions}
        return cls(needs, {node.label: graph.fetch_nodes_of(node) for node in actions}, keep_going=keep_going)

    # -- what to do

    @property
    def is_done(self) -> bool:
        """Whether every action has an outcome and nothing is being fetched."""
        return not self._states and not self._fetching

    def take_resolved(self) -> list[str]:
        """The actions to look up now; each is answered by `succeeded` or `missed`."""
        taken, self._resolved = self._resolved, []
        return taken

    def take_fetches(self) -> list[str]:
        """The source files to fetch now; each is answered by `succeeded` or `failed`."""
        taken, self._fetches = self._fetches, []
        return taken

    def take_ready(self, limit: int) -> list[str]:
        """The actions to execute now, so that no more than a limit run; answered by `succeeded`, `failed`, `repeat`."""
        taken: list[str] = []
        while self._ready and len(self._running) < limit:
            label = self._ready.popleft()
            self._states[label] = State.RUNNING
            self._running.add(label)
            taken.append(label)
        return taken

    # -- how it went

    def missed(self, label: str, key: Hashable) -> list[Ended]:
        """The action cache has no result for an action, so it has to run."""
        if self._stopping:
            return self._skip([label], STOPPED)
        self._keys[label] = key
        runner = self._runners.setdefault(key, label)
        if runner != label and self._states.get(runner) in (State.FETCHING, State.READY, State.RUNNING):
            self._wait(label, State.SHARING, [runner])
            return []
        self._runners[key] = label
        files = self._files.get(label, ())
        for file in files:
            if self.outcomes.get(file) == "failed":
                return self._skip([label], f"needs {file}")
        new = [file for file in files if file not in self.outcomes and file not in self._fetching]
        self._fetching.update(new)
        self._fetches += new
        self._wait(label, State.FETCHING, [file for file in files if file in self._fetching])
        return []

    def succeeded(self, label: str, outcome: Outcome) -> list[Ended]:
        """An action or a fetch has its outputs. Returns it, and the actions that share them."""
        ended = [self._end(label, outcome)]
        for waiter in self._waiters.pop(label, ()):
            if label not in self._awaited.get(waiter, ()):
                continue
            self._awaited[waiter].remove(label)
            if self._states[waiter] is State.SHARING:
                ended += self.succeeded(waiter, "shared")
            elif not self._awaited[waiter]:
                self._advance(waiter)
        return ended

    def failed(self, label: str) -> list[Ended]:
        """An action or a fetch has failed. Returns it, and the actions that are skipped for it."""
        ended = [self._end(label, "failed"), *self._skip(self._take_waiters(label), f"needs {label}")]
        if not self._keep_going:
            self._stopping = True
            idle = [label for label, state in self._states.items() if state in _STOPPABLE]
            self._ready.clear()
            ended += self._skip(idle, STOPPED)
        return ended

    def may_repeat(self, label: str) -> bool:
        """Whether an action is running and has not been repeated yet."""
        return label in self._running and label not in self._repeated

    def repeat(self, label: str, producers: Mapping[str, Hashable]) -> list[Ended]:
        """Run actions again whose outputs were damaged, and then the one that failed on these.

        Args:
            label: The action that failed.
            producers: Actions that it needs, directly or through others, with their keys.
        """
        self._repeated.add(label)
        self._running.discard(label)
        sharers = self._take_waiters(label, State.SHARING)
        self._wait(label, State.WAITING, producers)
        ended: list[Ended] = []
        for producer, key in producers.items():
            if self.outcomes.pop(producer, None) is not None:
                ended += self.missed(producer, key)
        for sharer in sharers:
            ended += self.missed(sharer, self._keys[sharer])
        return ended

    # -- transitions

    def _wait(self, label: str, state: State, awaited: Iterable[str]) -> None:
        self._states[label] = state
        self._awaited[label] = set(awaited)
        for other in awaited:
            self._waiters[other][label] = None
        if not self._awaited[label]:
            self._advance(label)

    def _advance(self, label: str) -> None:
        if self._states[label] is State.WAITING:
            self._states[label] = State.RESOLVED
            self._resolved.append(label)
        else:
            self._states[label] = State.READY
            self._ready.append(label)

    def _take_waiters(self, label: str, state: State | None = None) -> list[str]:
        """Those that wait for a label, in one state or any; they wait for it no more."""
        waiting = [waiter for waiter in self._waiters[label] if label in self._awaited.get(waiter, ())]
        taken = [waiter for waiter in waiting if state in (None, self._states[waiter])]
        for waiter in taken:
            self._awaited[waiter].remove(label)
        return taken

    def _skip(self, labels: Iterable[str], reason: str) -> list[Ended]:
        ended: list[Ended] = []
        for label in labels:
            if label not in self.outcomes:
                ended.append(self._end(label, "skipped", reason))
                ended += self._skip(self._take_waiters(label), f"needs {label}")
        return ended

    def _end(self, label: str, outcome: Outcome, reason: str = "") -> Ended:
        self.outcomes[label] = outcome
        self._states.pop(label, None)
        self._awaited.pop(label, None)
        self._running.discard(label)
        self._fetching.discard(label)
        return Ended(label, outcome, reason)


_STOPPABLE = (State.WAITING, State.FETCHING, State.READY)
"""The states in which nothing works for an action yet."""
