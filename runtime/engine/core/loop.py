"""The engine's thread: it owns all of MLX, and answers many requests by continuous batching, a step an iteration.

How others have it answer: `engine`.
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
from mlxbuild.runtime.engine.core import shutdown as ending
from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.scheduler import Scheduler
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.engine.core.statistics import Statistics
from mlxbuild.runtime.engine.core.step import Step
from mlxbuild.runtime.model.memory import OutOfMemory, is_lack_of_memory
from mlxbuild.runtime.model.threads import end_streams, leave_streams_in_order, settle
from mlxbuild.runtime.protocol.failures import as_failure

_SHORT_SECONDS = 1.0
"""Who asks again within that time finds memory where it was."""

Ticket = NewType("Ticket", int)
Result = TypeVar("Result")


class EngineFailed(StepError):
    """A step of the computation failed, and all answers that were on their way with it."""

    code = "engine-failed"


class EngineEnded(EnvironmentFailure):
    """The engine was closed, or failed twice in a row, and takes no more requests."""

    code = "engine-ended"


class Loop:
    """What runs on the engine's thread, with the way to it. Ends by `end`, and with its process."""

    def __init__(self, model: Any, limits: Limits, draft: Any, batching: Batching | None) -> None:
        self.step = Step(model)
        self.batching: Future[Batching] = Future()
        if batching is not None:
            self.batching.set_result(batching)
        self._model, self._draft = model, draft
        self._most = self._limits = limits
        self._scheduler = self._new_scheduler()
        self._rows: dict[Ticket, SequenceState] = {}
        self._lock = threading.RLock()  # an engine may be collected while its thread is asked for something
        self._failures = 0
        self._failed_before = False
        self._working_since: float | None = None
        self.ended: EngineEnded | None = None
        self.commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work, name="engine", daemon=True)
        self._has_begun = threading.Event()
        self._is_over = threading.Event()  # a join that a signal interrupts says so of a thread that computes
        self._rest: Callable[[], None] | None = None
        self._goes_on = threading.Event()

    def start(self) -> None:
        """Begin to compute; where the process ends, the engine has ended."""
        self.thread.start()
        self._has_begun.wait()

    def ask(self, command: Callable[[], None]) -> None:
        """Have something done between two iterations, for certain."""
        with self._lock:
            if self.ended is not None:
                raise EngineEnded(self.ended.message)
            self.commands.put(command)

    def end(self, reason: str) -> None:
        """Take no more commands; those that were taken are answered. What is computed is left between two layers."""
        with self._lock:
            self.ended = self.ended or EngineEnded(reason)
            self.commands.put(lambda: None)  # so that nobody waits for a command

    def wait(self) -> None:
        """Until nothing is computed any more."""
        if threading.current_thread() is not self.thread:
            self._is_over.wait()
            if self.thread.is_alive():
                self.thread.join()

    def checkpoint(self) -> None:
        """Raises `EngineEnded` when what is being computed is to be left; rests while the process is forked."""
        if self.ended is not None:
            raise EngineEnded(self.ended.message)
        if self._rest is not None:
            self._rest()

    def hold_still(self) -> None:
        """Compute nothing, not even what is laid out ahead, until `go_on`."""
        if threading.current_thread() is self.thread:
            settle()
            return
        is_still = threading.Event()
        goes_on = self._goes_on = threading.Event()

        def rest() -> None:
            settle()
            is_still.set()
            goes_on.wait()

        self._rest = rest  # between two layers
        try:
            self.ask(rest)
        except EngineEnded:
            self.wait()
        else:
            is_still.wait()

    def go_on(self) -> None:
        """Compute again."""
        self._rest = None
        self._goes_on.set()

    def forsake(self, reason: str) -> None:
        """In a copy of the process, which has no such thread, and where others may have held the lock."""
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._is_over.set()
        self.commands = queue.SimpleQueue()
        self._rest = None
        self.end(reason)
        if not self.batching.done():
            self.batching.set_exception(EngineEnded(reason))
        self._fail_all(EngineEnded(reason))

    def get_on(self) -> None:
        self._scheduler.counts.got_on_at = time.monotonic()

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Take no more memory than that for caches, and never more than at the beginning."""
        self._limits = replace(
            self._most,
            cache_bytes=_least(self._most.cache_bytes, cache_bytes),
            prefix_bytes=_least(self._most.prefix_bytes, prefix_bytes),
        )
        self._scheduler.limit(self._limits)

    def add(self, ticket: Ticket, row: SequenceState) -> None:
        self._rows[ticket] = row
        self._scheduler.add(row)

    def drop(self, ticket: Ticket) -> None:
        row = self._rows.pop(ticket, None)
        if row is not None:
            self._scheduler.drop(row)

    def statistics(self) -> Statistics:
        return self._scheduler.statistics(failures=self._failures, working_since=self._working_since)

    def work(self) -> None:
        ending.remember(self)  # on this thread: no signal comes between
        self._has_begun.set()
        try:
            ended = self.ended or self._compute()
            while not self.commands.empty():
                self.commands.get()()
            self._fail_all(ended)
            if not self.batching.done():
                self.batching.set_exception(ended)
            self._scheduler = self._new_scheduler()  # lets go of all caches
        finally:
            end_streams()
            self._is_over.set()

    def _compute(self) -> EngineEnded:
        leave_streams_in_order()
        if self._limits.spare_bytes is not None:
            import mlx.core as mx

            mx.set_cache_limit(self._limits.spare_bytes)
        if not self.batching.done():
            self._examine()
        while self.ended is None:
            self._take_commands()
            if self.ended is None and self._rows:
                self._iteration()
        return self.ended

    def _new_scheduler(self) -> Scheduler:
        is_known = self.batching.done() and self.batching.exception() is None
        batching = self.batching.result() if is_known else EVERYTHING
        return Scheduler(self._model, self.step, self._limits, self._draft, batching, checkpoint=self.checkpoint)

    def _examine(self) -> None:
        """Find out what may be computed at once; the engine ends where nothing can be computed."""
        self._working_since = time.monotonic()
        try:
            self.batching.set_result(Batching.of(self._model))
        except Exception as error:  # noqa: BLE001 - it belongs to who asks
            self.end(f"the model cannot be computed: {error}")
            self.batching.set_exception(error)
        else:
            self._scheduler = self._new_scheduler()

    def _take_commands(self) -> None:
        """Do what was asked meanwhile; wait for it when there is nothing else to do."""
        if not self._rows and self.commands.empty():
            self._working_since = None
            try:
                command = self.commands.get(timeout=_SHORT_SECONDS)
            except queue.Empty:
                self._scheduler.rest()
                command = self.commands.get()
            self._working_since = time.monotonic()
            self._do(command)
        while not self.commands.empty():
            self._do(self.commands.get())

    def _do(self, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception as error:  # noqa: BLE001 - leaving a row computes, too
            self._recover(error)

    def _iteration(self) -> None:
        self._working_since = time.monotonic()
        try:
            done = self._scheduler.iterate()
            self._failed_before = False
        except EngineEnded:
            return  # everybody is told when the work is over
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine must not be lost silently
            self._recover(error)
            return
        for row in done:
            self._rows = {ticket: each for ticket, each in self._rows.items() if each is not row}

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
        rows, self._rows = self._rows, {}
        for row in rows.values():
            row.tell([as_failure(error)])


def _least(most_bytes: int | None, size_bytes: int) -> int:
    return size_bytes if most_bytes is None else min(most_bytes, size_bytes)
