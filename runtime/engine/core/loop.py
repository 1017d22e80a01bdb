"""The engine's thread: it alone uses MLX, and answers many requests by continuous batching, one step an iteration.

Other threads use it through `engine`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NewType, TypeVar

from mlxbuild.registry.core.errors import EnvironmentFailure, StepError
from mlxbuild.runtime.engine.core import shutdown
from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.decode_step import DecodeStep
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.scheduler import Scheduler
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.model.memory import OutOfMemory, is_lack_of_memory
from mlxbuild.runtime.model.threads import end_streams, leave_streams_in_order, settle
from mlxbuild.runtime.protocol.failures import as_failure
from mlxbuild.runtime.protocol.statistics import EngineStatistics

_SHORT_SECONDS = 1.0
"""MLX keeps freed memory for a request that comes within this time."""

Ticket = NewType("Ticket", int)
Result = TypeVar("Result")


class EngineFailed(StepError):
    """A step of the computation failed, and all requests in progress failed with it."""

    code = "engine-failed"


class EngineEnded(EnvironmentFailure):
    """The engine was closed, or failed twice in a row, and takes no more requests."""

    code = "engine-ended"


class Loop:
    """The engine's thread and its command queue. It ends by `end`, or with its process."""

    def __init__(self, model: Any, limits: Limits, draft: Any, batching: Batching | None) -> None:
        self.step = DecodeStep(model)
        self.batching: Future[Batching] = Future()
        if batching is not None:
            self.batching.set_result(batching)
        self._model, self._draft = model, draft
        self._most = self._limits = limits
        self._scheduler = self._new_scheduler()
        self._sequences: dict[Ticket, SequenceState] = {}
        self._lock = threading.RLock()  # an engine may be garbage-collected while its thread is being used
        self._failures = 0
        self._failed_before = False
        self._working_since: float | None = None
        self.ended: EngineEnded | None = None
        self.commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work, name="engine", daemon=True)
        self._has_begun = threading.Event()
        self._is_over = threading.Event()  # a join that a signal interrupts reports a running thread as ended
        self._pause: Callable[[], None] | None = None
        self._resumed = threading.Event()

    def start(self) -> None:
        """Start the thread. The engine will have ended before the process does."""
        self.thread.start()
        self._has_begun.wait()

    def ask(self, command: Callable[[], None]) -> None:
        """Queue a command to run between two iterations; it is certain to run."""
        with self._lock:
            if self.ended is not None:
                raise EngineEnded(self.ended.message)
            self.commands.put(command)

    def end(self, reason: str) -> None:
        """Take no more commands; those already queued still run. The current computation stops between two layers."""
        with self._lock:
            self.ended = self.ended or EngineEnded(reason)
            self.commands.put(lambda: None)  # wakes the thread if it waits for a command

    def wait(self) -> None:
        """Wait until nothing is computed any more."""
        if threading.current_thread() is not self.thread:
            self._is_over.wait()
            if self.thread.is_alive():
                self.thread.join()

    def checkpoint(self) -> None:
        """Raise `EngineEnded` if the current computation has to stop; block while the process is being forked."""
        if self.ended is not None:
            raise EngineEnded(self.ended.message)
        if self._pause is not None:
            self._pause()

    def pause(self) -> None:
        """Compute nothing, not even steps that are already queued in MLX, until `resume`."""
        if threading.current_thread() is self.thread:
            settle()
            return
        is_still = threading.Event()
        goes_on = self._resumed = threading.Event()

        def block() -> None:
            settle()
            is_still.set()
            goes_on.wait()

        self._pause = block  # between two layers
        try:
            self.ask(block)
        except EngineEnded:
            self.wait()
        else:
            is_still.wait()

    def resume(self) -> None:
        """Continue computing."""
        self._pause = None
        self._resumed.set()

    def abandon(self, reason: str) -> None:
        """Fail all requests in a forked child, which has no engine thread, and where the lock may be held."""
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._is_over.set()
        self.commands = queue.SimpleQueue()
        self._pause = None
        self.end(reason)
        if not self.batching.done():
            self.batching.set_exception(EngineEnded(reason))
        self._fail_all(EngineEnded(reason))

    def note_progress(self) -> None:
        self._scheduler.counts.progressed_at = time.monotonic()

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Set new bounds for the caches, never above the initial ones."""
        self._limits = replace(
            self._most,
            cache_bytes=_least(self._most.cache_bytes, cache_bytes),
            prefix_bytes=_least(self._most.prefix_bytes, prefix_bytes),
        )
        self._scheduler.limit(self._limits)

    def add(self, ticket: Ticket, sequence: SequenceState) -> None:
        self._sequences[ticket] = sequence
        self._scheduler.add(sequence)

    def drop(self, ticket: Ticket) -> None:
        sequence = self._sequences.pop(ticket, None)
        if sequence is not None:
            self._scheduler.drop(sequence)

    def statistics(self) -> EngineStatistics:
        return self._scheduler.statistics(failures=self._failures, working_since=self._working_since)

    def work(self) -> None:
        shutdown.register(self)  # on this thread, as signals are handled on the main thread
        self._has_begun.set()
        try:
            ended = self.ended or self._compute()
            while not self.commands.empty():
                self.commands.get()()
            self._fail_all(ended)
            if not self.batching.done():
                self.batching.set_exception(ended)
            self._scheduler = self._new_scheduler()  # releases all KV caches
        finally:
            end_streams()
            self._is_over.set()

    def _compute(self) -> EngineEnded:
        leave_streams_in_order()
        if self._limits.spare_bytes is not None:
            import mlx.core as mx

            mx.set_cache_limit(self._limits.spare_bytes)
        if not self.batching.done():
            self._find_batching()
        while self.ended is None:
            self._take_commands()
            if self.ended is None and self._sequences:
                self._iteration()
        return self.ended

    def _new_scheduler(self) -> Scheduler:
        is_known = self.batching.done() and self.batching.exception() is None
        batching = self.batching.result() if is_known else EVERYTHING
        return Scheduler(self._model, self.step, self._limits, self._draft, batching, checkpoint=self.checkpoint)

    def _find_batching(self) -> None:
        """Run the trial for `batching`; the engine ends if the model cannot be computed."""
        self._working_since = time.monotonic()
        try:
            self.batching.set_result(Batching.of(self._model))
        except Exception as error:  # noqa: BLE001 - it belongs to who asks
            self.end(f"the model cannot be computed: {error}")
            self.batching.set_exception(error)
        else:
            self._scheduler = self._new_scheduler()

    def _take_commands(self) -> None:
        """Run the queued commands; wait for one if there is no request."""
        if not self._sequences and self.commands.empty():
            self._working_since = None
            try:
                command = self.commands.get(timeout=_SHORT_SECONDS)
            except queue.Empty:
                self._scheduler.release_memory()
                command = self.commands.get()
            self._working_since = time.monotonic()
            self._do(command)
        while not self.commands.empty():
            self._do(self.commands.get())

    def _do(self, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception as error:  # noqa: BLE001 - leaving a sequence computes, too
            self._recover(error)

    def _iteration(self) -> None:
        self._working_since = time.monotonic()
        try:
            done = self._scheduler.iterate()
            self._failed_before = False
        except EngineEnded:
            return  # all requests fail when the loop ends
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine must not be lost silently
            self._recover(error)
            return
        for sequence in done:
            self._sequences = {ticket: each for ticket, each in self._sequences.items() if each is not sequence}

    def _recover(self, error: Exception) -> None:
        self._failures += 1
        told = f"computing failed: {error or type(error).__name__}"
        self._fail_all(OutOfMemory(told) if is_lack_of_memory(error) else EngineFailed(told, hint="try again"))
        counts = self._scheduler.counts
        self._scheduler = self._new_scheduler()
        self._scheduler.counts = counts
        if self._failed_before:
            self.end(f"computing failed twice in a row: {error or type(error).__name__}")
        self._failed_before = True

    def _fail_all(self, error: Exception) -> None:
        sequences, self._sequences = self._sequences, {}
        for sequence in sequences.values():
            sequence.tell([as_failure(error)])


def _least(most_bytes: int | None, size_bytes: int) -> int:
    return size_bytes if most_bytes is None else min(most_bytes, size_bytes)
