"""The scheduler: one thread owns the graph, looks actions up in the cache, and gives an executor those that must run.

Early cutoff needs no extra code: an action's key holds the digests of its inputs, so an action that reproduces the same
outputs leads to cache hits. Source files are fetched only if an action that must run reads them. If an output turns out
to be damaged, the action that produced it runs again, once per run.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, Store
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.cache.traces import Trace, TraceStore
from mlxbuild.toolchain.core.steps import STEPS, StepKind
from mlxbuild.toolchain.events.model import Outcome, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.chronicle import Chronicle
from mlxbuild.toolchain.execute.fetching import FetchLane
from mlxbuild.toolchain.execute.port import (
    ActionEvent,
    ActionRequest,
    Answered,
    Begun,
    Executor,
    FailedAction,
    Finished,
    Progressed,
)
from mlxbuild.toolchain.execute.waiting import Waiting
from mlxbuild.toolchain.graph.graph import Graph
from mlxbuild.toolchain.graph.lookup import Lookup, Resolved

if TYPE_CHECKING:
    from mlxbuild.toolchain.execute.remote_lane import RemoteLane


@dataclass(slots=True)
class RunResult:
    """The outcome of every node."""

    outputs: dict[str, Mapping[str, Blob]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, MlxbuildError] = field(default_factory=dict)

    def count(self) -> dict[str, int]:
        """The number of nodes by outcome."""
        return dict(Counter(self.outcomes.values()))


class Scheduler:
    """Runs one graph, once."""

    def __init__(
        self,
        graph: Graph,
        lookup: Lookup,
        traces: TraceStore,
        history: History,
        store: Store,
        executor: Executor,
        stream: EventStream,
        *,
        keep_going: bool = False,
        remote: RemoteLane | None = None,
        steps: Mapping[str, StepKind] = STEPS,
        order: Callable[[list[str]], list[str]] = lambda labels: labels,
    ) -> None:
        """`order` may shuffle actions that are ready at the same time, to prove that their order does not matter."""
        self._graph = graph
        self._lookup = lookup
        self._traces = traces
        self._store = store
        self._executor = executor
        self._stream = stream
        self._chronicle = Chronicle(graph, lookup, traces, history, stream)
        self._keep_going = keep_going
        self._remote = remote
        self._steps = steps
        self._order = order
        self.result = RunResult()
        """The result so far; complete when `run` returns."""
        self._queue: SimpleQueue[ActionEvent] = SimpleQueue()
        self._fetching = FetchLane(self._queue)
        self._waiting = Waiting(graph)
        self._resolved: dict[str, Resolved] = {}
        self._by_key: dict[Digest, str] = {}
        self._sharers: dict[str, list[str]] = defaultdict(list)
        self._busy: set[str] = set()
        self._ready: deque[str] = deque()
        self._submitted = 0
        self._healed: set[str] = set()
        self._stopping = False

    def run(self) -> RunResult:
        """Run until every node has an outcome.

        Raises:
            KeyboardInterrupt: raised after the executor has stopped; finished actions stay cached.
        """
        self._executor.start(self._queue)
        if self._remote is not None:
            self._remote.start(self._queue)
        is_done = False
        try:
            self._begin()
            while self._busy:
                while self._ready and self._submitted < self._executor.capacity:
                    self._submit(self._ready.popleft())
                self._take(self._queue.get())
            is_done = True
        except KeyboardInterrupt:
            self._stream.emit(Warned("stopping as soon as running actions can be interrupted; finished ones are kept"))
            raise
        finally:
            self._fetching.close(cancel=not is_done)
            self._executor.close(cancel=not is_done)
            if self._remote is not None:
                self._remote.close(cancel=not is_done)
            self._chronicle.remember(self._resolved, self.result.outcomes)
        return self.result

    def _begin(self) -> None:
        for node in self._graph.nodes.values():
            if node.expected is not None:
                self.result.outputs[node.label] = node.expected
        self._look_up(self._waiting.resolvable())

    # -- from known inputs to a cache hit or a request

    def _look_up(self, labels: list[str]) -> None:
        """Look up nodes whose inputs are all known, and all nodes that their cache hits make known in turn."""
        pending = self._order(labels)
        while pending:
            missed: list[str] = []
            known: list[str] = []
            for label in pending:
                if label in self.result.outcomes:
                    continue
                resolved = self._lookup.resolve(self._graph.nodes[label], self.result.outputs)
                self._resolved[label] = resolved
                trace = self._lookup.find(resolved)
                if trace is None:
                    missed.append(label)
                else:
                    self._traces.touch(resolved.key)
                    known += self._settle(label, "hit", trace.outputs, 0.0)
            self._miss(missed)
            pending = self._order(known)

    def _miss(self, labels: list[str]) -> None:
        """Look up actions in the remote cache if there is one, else run them."""
        if self._remote is not None and self._remote.can_answer and not self._stopping:
            for label in labels:
                self._busy.add(label)
                self._remote.ask(label, self._resolved[label].key)
            return
        self._chronicle.explain([self._resolved[label] for label in labels])
        for label in labels:
            self._demand(label)

    def _demand(self, label: str) -> None:
        """Run an action as soon as the source files that it reads are here."""
        if self._stopping:
            self._skip(label, "stopped after a failure")
            return
        resolved = self._resolved[label]
        first = self._by_key.setdefault(resolved.key, label)
        if first != label and first in self._busy:
            self._busy.add(label)
            self._sharers[first].append(label)
            return
        self._by_key[resolved.key] = label
        self._busy.add(label)
        fetches = self._graph.fetch_nodes_of(resolved.node)
        for fetch in fetches:
            if self.result.outcomes.get(fetch) in ("failed", "skipped"):
                self._skip(label, f"needs {fetch}")
                return
            self._begin_fetch(fetch)
        missing = [fetch for fetch in fetches if fetch not in self.result.outcomes]
        if missing:
            self._waiting.wait_for_files(label, missing)
        else:
            self._ready.append(label)

    def _begin_fetch(self, label: str) -> None:
        if label in self._busy or label in self.result.outcomes:
            return
        work = self._graph.fetches[label]
        if work.catalogue.present(work.source, work.file):
            self._finish(label, "present", 0.0)
            return
        self._busy.add(label)
        self._fetching.submit(label, work)

    def _submit(self, label: str) -> None:
        self._submitted += 1
        try:
            request = self._request(self._resolved[label])
        except MlxbuildError as error:
            self._queue.put(FailedAction(label, error))
        else:
            self._executor.submit(request)

    def _request(self, resolved: Resolved) -> ActionRequest:
        node = resolved.node
        self._store.put_all(*node.literals)
        files = {}
        for fetch in self._graph.fetch_nodes_of(node):
            work = self._graph.fetches[fetch]
            files[work.file.blob.digest] = work.catalogue.locate(work.source, work.file)
        return ActionRequest(node.label, resolved.key, resolved.record, files, self._steps[node.step].lane)

    # -- from events to outcomes

    def _take(self, event: ActionEvent) -> None:
        match event:
            case Begun(label):
                self._chronicle.begun(label)
            case Progressed(label, done_bytes):
                self._chronicle.progressed(label, done_bytes)
            case Finished() if event.label in self._graph.fetches:
                self._busy.discard(event.label)
                self._finish(event.label, "ran", event.seconds)
                self._ready += self._waiting.have_file(event.label)
            case Finished():
                self._submitted -= 1
                self._conclude(event)
            case Answered(label, trace):
                self._busy.discard(label)
                self._hear(label, trace)
            case FailedAction(label, error):
                self._submitted -= label not in self._graph.fetches
                self._fail(label, error)

    def _hear(self, label: str, trace: Trace | None) -> None:
        """Handle the answer of a remote cache."""
        if trace is None:
            self._chronicle.explain([self._resolved[label]])
            self._demand(label)
            return
        self._traces.put(trace)
        self._chronicle.because(label, "from the remote cache")
        self._look_up(self._settle(label, "hit", trace.outputs, 0.0))

    def _conclude(self, event: Finished) -> None:
        self._busy.discard(event.label)
        if event.diverged_from is not None:
            self._stream.emit(
                Warned("the same action gave other bytes before; the first result is kept", where=event.label)
            )
        if self._remote is not None and not event.was_hit:
            trace = self._traces.find(self._resolved[event.label].key)
            if trace is not None:
                self._remote.tell(trace)
        outputs = event.diverged_from or event.outputs
        known = self._settle(event.label, "hit" if event.was_hit else "ran", outputs, event.seconds)
        for sharer in self._sharers.pop(event.label, []):
            self._busy.discard(sharer)
            known += self._settle(sharer, "shared", outputs, 0.0)
        self._look_up(known)

    def _settle(self, label: str, outcome: Outcome, outputs: Mapping[str, Blob], seconds: float) -> list[str]:
        """Record an outcome and its outputs; returns the nodes whose inputs are now all known."""
        self.result.outputs[label] = outputs
        self._finish(label, outcome, seconds)
        return self._waiting.know(label)

    def _fail(self, label: str, error: MlxbuildError) -> None:
        self._busy.discard(label)
        if isinstance(error, BlobMissing | BlobCorrupt) and self._heal(label, error):
            return
        self.result.errors[label] = error
        self._finish(label, "failed", self._chronicle.seconds_since_begun(label))
        if not self._keep_going:
            self._stopping = True
        for waiting in [*self._waiting.give_up(label), *self._sharers.pop(label, [])]:
            self._skip(waiting, f"needs {label}")
        if self._stopping:
            idle = [*self._waiting.waiting_for_files(), *self._ready, *self._waiting.unresolvable()]
            self._ready.clear()
            for other in idle:
                self._skip(other, "stopped after a failure")

    def _heal(self, label: str, error: BlobMissing | BlobCorrupt) -> bool:
        """Rerun the action that produced a damaged result of this run, then the action that failed on it."""
        producers = [
            other
            for other, outputs in self.result.outputs.items()
            if other in self._resolved and any(blob.digest == error.digest for blob in outputs.values())
        ]
        if label in self._healed or not producers:
            return False
        self._healed.add(label)
        if self._store.has(error.digest):
            self._store.quarantine(error.digest)
        self._stream.emit(Warned(f"{error.message}: making it again", where=label))
        for producer in producers:
            del self.result.outcomes[producer]
            self._traces.remove(self._resolved[producer].key)
            self._waiting.doubt(producer, label)
            self._chronicle.because(producer, "its output was damaged")
            self._demand(producer)
        return True

    def _skip(self, label: str, reason: str) -> None:
        if label in self.result.outcomes:
            return
        self._busy.discard(label)
        self._chronicle.because(label, reason)
        self._finish(label, "skipped", 0.0)
        for consumer in [*self._waiting.give_up(label), *self._sharers.pop(label, [])]:
            self._skip(consumer, f"needs {label}")

    def _finish(self, label: str, outcome: Outcome, seconds: float) -> None:
        self.result.outcomes[label] = outcome
        self._chronicle.finished(label, outcome, seconds, self._resolved.get(label))
