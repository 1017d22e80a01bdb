"""Executes a graph: asks the schedule what is due, and does it with action cache, executor, fetches and events.

One thread runs the loop; executors, fetches and remote caches answer on its queue. Early cutoff needs no extra code: an
action's key holds the digests of its inputs, so an action that reproduces the same outputs leads to cache hits. If an
output turns out to be damaged, the action that produced it runs again, once for each action that failed on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing
from mlxbuild.toolchain.cache.action_cache import ActionCache, Resolved
from mlxbuild.toolchain.events.model import Outcome, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.fetch_threads import FetchThreads
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
from mlxbuild.toolchain.execute.run_recorder import RunRecorder
from mlxbuild.toolchain.execute.schedule import Ended, Schedule
from mlxbuild.toolchain.graph.graph import Graph

if TYPE_CHECKING:
    from mlxbuild.toolchain.execute.remote_cache_threads import RemoteCacheThreads


@dataclass(slots=True)
class RunResult:
    """The outcome of every node."""

    outputs: dict[str, Mapping[str, Blob]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, MlxbuildError] = field(default_factory=dict)

    def count(self) -> dict[str, int]:
        """The number of nodes by outcome."""
        return dict(Counter(self.outcomes.values()))


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How to execute a graph; no option changes outputs."""

    keep_going: bool = False
    """Whether a failure spares what does not need the action that failed."""
    order: Callable[[list[str]], list[str]] = list
    """Shuffles actions that are due at the same time, to prove that their order does not matter."""


class Execution:
    """Executes one graph, once."""

    def __init__(
        self,
        graph: Graph,
        cache: ActionCache,
        executor: Executor,
        stream: EventStream,
        options: ExecutionOptions,
        remote: RemoteCacheThreads | None = None,
    ) -> None:
        self._graph = graph
        self._cache = cache
        self._executor = executor
        self._stream = stream
        self._order = options.order
        self._remote = remote
        self._schedule = Schedule.of(graph, keep_going=options.keep_going)
        self._chronicle = RunRecorder(graph, cache, stream)
        known = {node.label: node.expected for node in graph.nodes.values() if node.expected is not None}
        self.result = RunResult(outputs=known, outcomes=self._schedule.outcomes)
        """The result so far; complete when `run` returns."""
        self._resolved: dict[str, Resolved] = {}
        self._queue: SimpleQueue[ActionEvent] = SimpleQueue()
        self._fetching = FetchThreads(self._queue)

    def run(self) -> RunResult:
        """Run until every action has an outcome.

        Raises:
            KeyboardInterrupt: raised after the executor has stopped; finished actions stay cached.
        """
        self._executor.start(self._queue)
        if self._remote is not None:
            self._remote.start(self._queue)
        is_done = False
        try:
            self._proceed()
            while not self._schedule.is_done:
                self._take(self._queue.get())
                self._proceed()
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

    # -- what is due

    def _proceed(self) -> None:
        """Do everything that is due now."""
        while due := self._schedule.take_resolved():
            self._look_up(self._order(due))
        for label in self._schedule.take_fetches():
            self._fetch(label)
        for label in self._schedule.take_ready(self._executor.capacity):
            self._execute(label)

    def _look_up(self, labels: list[str]) -> None:
        """Look actions up in the action cache, and in the remote one if there is one."""
        missed: list[str] = []
        for label in labels:
            resolved = self._cache.resolve(self._graph.nodes[label], self.result.outputs)
            self._resolved[label] = resolved
            trace = self._cache.find(resolved)
            if trace is None:
                missed.append(label)
            else:
                self._cache.traces.touch(resolved.key)
                self._succeed(label, "hit", trace.outputs)
                if self._remote is not None:
                    self._remote.tell(trace)
        if self._remote is not None and self._remote.can_answer:
            for label in missed:
                self._remote.ask(label, self._resolved[label].key)
        else:
            self._miss(missed)

    def _miss(self, labels: list[str]) -> None:
        self._chronicle.explain([self._resolved[label] for label in labels])
        for label in labels:
            self._record(self._schedule.missed(label, self._resolved[label].key))

    def _fetch(self, label: str) -> None:
        fetch = self._graph.fetches[label]
        if fetch.catalogue.present(fetch.source, fetch.file):
            self._record(self._schedule.succeeded(label, "present"))
        else:
            self._fetching.submit(label, fetch)

    def _execute(self, label: str) -> None:
        try:
            request = self._request(self._resolved[label])
        except MlxbuildError as error:
            self._queue.put(FailedAction(label, error))
        else:
            self._executor.submit(request)

    def _request(self, resolved: Resolved) -> ActionRequest:
        node = resolved.node
        self._cache.store.put_all(*node.literals)
        files = {}
        for label in self._graph.fetch_nodes_of(node):
            fetch = self._graph.fetches[label]
            files[fetch.file.blob.digest] = fetch.catalogue.locate(fetch.source, fetch.file)
        return ActionRequest(node.label, resolved.key, resolved.record, files, self._cache.steps[node.step].lane)

    # -- how it went

    def _take(self, event: ActionEvent) -> None:
        match event:
            case Begun(label):
                self._chronicle.begun(label)
            case Progressed(label, done_bytes):
                self._chronicle.progressed(label, done_bytes)
            case Finished() if event.label in self._graph.fetches:
                self._record(self._schedule.succeeded(event.label, "ran"), event.seconds)
            case Finished():
                self._finish(event)
            case Answered(label, trace) if trace is not None:
                self._cache.traces.put(trace)
                self._chronicle.because(label, "from the remote cache")
                self._succeed(label, "hit", trace.outputs)
            case Answered(label):
                self._miss([label])
            case FailedAction(label, error):
                self._fail(label, error)

    def _finish(self, event: Finished) -> None:
        if event.diverged_from is not None:
            self._stream.emit(
                Warned("the same action gave other bytes before; the first result is kept", where=event.label)
            )
        if self._remote is not None and not event.was_hit:
            trace = self._cache.traces.find(self._resolved[event.label].key)
            if trace is not None:
                self._remote.tell(trace)
        outputs = event.diverged_from or event.outputs
        self._succeed(event.label, "hit" if event.was_hit else "ran", outputs, event.seconds)

    def _succeed(self, label: str, outcome: Outcome, outputs: Mapping[str, Blob], seconds: float = 0.0) -> None:
        ended = self._schedule.succeeded(label, outcome)
        self.result.outputs |= {each.label: outputs for each in ended}
        self._record(ended, seconds)

    def _fail(self, label: str, error: MlxbuildError) -> None:
        if isinstance(error, BlobMissing | BlobCorrupt) and self._schedule.may_repeat(label):
            producers = self._producers(label, error.digest)
            if producers:
                self._repair(label, producers, error)
                return
        self.result.errors[label] = error
        self._record(self._schedule.failed(label), self._chronicle.seconds_since_begun(label))

    def _repair(self, label: str, producers: Mapping[str, Digest], error: BlobMissing | BlobCorrupt) -> None:
        """Repeat the actions that produced a damaged result, then the action that failed on it."""
        if self._cache.store.has(error.digest):
            self._cache.store.quarantine(error.digest)
        self._stream.emit(Warned(f"{error.message}: building it again", where=label))
        for producer, key in producers.items():
            self._cache.traces.remove(key)
            self._chronicle.because(producer, "its output was damaged")
        self._record(self._schedule.repeat(label, producers))

    def _producers(self, label: str, digest: Digest) -> dict[str, Digest]:
        """The actions that an action needs, directly or through others, and that produced a blob; with their keys."""
        needed: dict[str, None] = {}
        pending = [label]
        while pending:
            new = [other for other in self._graph.nodes[pending.pop()].needs if other not in needed]
            needed |= dict.fromkeys(new)
            pending += new
        return {
            other: self._resolved[other].key
            for other in needed
            if other in self._resolved and any(blob.digest == digest for blob in self.result.outputs[other].values())
        }

    def _record(self, ended: Iterable[Ended], seconds: float = 0.0) -> None:
        """Emit and remember what has ended; the first of them took some seconds."""
        for each in ended:
            if each.reason:
                self._chronicle.because(each.label, each.reason)
            self._chronicle.finished(each.label, each.outcome, seconds, self._resolved.get(each.label))
            seconds = 0.0
