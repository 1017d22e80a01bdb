"""The engine: one thread that owns all of MLX, and answers many requests at once, a step of all of them a tick."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NewType, TypeVar

from registry.errors import EnvironmentFailure, StepError
from runtime.engine import ending
from runtime.engine.batching import EVERYTHING, Batching
from runtime.engine.limits import Limits
from runtime.engine.prepared import Prepared
from runtime.engine.row import Deliver, Row
from runtime.engine.schedule import Schedule
from runtime.engine.statistics import Statistics
from runtime.engine.step import Step
from runtime.model.memory import OutOfMemory, is_lack_of_memory
from runtime.model.threads import leave_streams_in_order, require_own_threads, settle
from runtime.model.tokenizer import Tokenizer
from runtime.protocol.failures import as_failure

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


class Engine:
    """Answers requests with one model. All methods may be called from any thread, and none of them waits for MLX
    but `batching`.

    A tick that fails ends every request on its way with a `Failure`; the engine goes on with fresh caches. A second
    such tick in a row ends the engine. It also ends when nobody has it any more, and before its process does.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        limits: Limits,
        *,
        draft: Any = None,
        batching: Batching | None = None,
    ) -> None:
        """Start the thread for a model of mlx-lm whose arrays are evaluated. The limits are resolved ones.

        `draft` is a smaller model with the same tokens: it makes an answer faster that is the only one. What may be
        `batching` is found out before anything else, where it is not given.

        Raises:
            ForkedProcess: MLX has computed in another process, from which this one was forked.
        """
        require_own_threads()
        self._tokenizer = tokenizer
        self._loop = _Loop(model, limits, draft, batching)
        self._last_ticket = 0
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _close, self._loop)
        self._close.atexit = False  # `ending` sees to that
        self._loop.thread.start()
        ending.remember(self._loop)

    def submit(self, prepared: Prepared, deliver: Deliver) -> Ticket:
        """Answer a request. `deliver` gets its events, of each tick together, on the engine's thread.

        The last event is a chunk with an ending, or a `Failure`. A `deliver` that raises cancels its request.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        row = Row(prepared, deliver, self._tokenizer)
        with self._lock:
            self._last_ticket += 1
            ticket = Ticket(self._last_ticket)
        self._loop.ask(lambda: self._loop.add(ticket, row))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Compute no further for a request. Nothing is delivered after the tick that is on its way."""
        loop = self._loop
        if loop.ended is None:
            loop.commands.put(lambda: loop.drop(ticket))

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Have something computed on the engine's thread, between two ticks; it fails if the engine ends before.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        future: Future[Result] = Future()

        def command() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    self._loop.checkpoint()
                    result = work()
                except BaseException as error:  # noqa: BLE001 - it belongs to who asked
                    future.set_exception(error)
                else:
                    self._loop.get_on()
                    future.set_result(result)

        self._loop.ask(command)
        return future

    def compile_steps(self) -> Future[None]:
        """Have answers that are computed alone take compiled steps from now on.

        The first one takes seconds where MLX does not find kernels that were compiled before.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        return self.run(self._loop.step.compile)

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Let layer caches of running answers, and the prefix cache, take less from now on, or as much as at first.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        loop = self._loop
        loop.ask(lambda: loop.limit(cache_bytes, prefix_bytes))

    @property
    def batching(self) -> Batching:
        """How requests are computed together; waits for it to be found out.

        Raises:
            NeedsMetal, NotComputable, OutOfMemory: the model cannot be computed; the engine has ended.
        """
        return self._loop.batching.result()

    def statistics(self) -> Statistics:
        """What the engine has done and is doing."""
        return self._loop.statistics()

    def checkpoint(self) -> None:
        """For long work on the engine's thread, to be called now and then.

        Raises:
            EngineEnded: the work is to be left, as the engine ends.
        """
        self._loop.checkpoint()

    @property
    def ended(self) -> EngineEnded | None:
        """Why the engine takes no more requests; None while it does."""
        return self._loop.ended

    def close(self) -> None:
        """Fail what is on its way, and end the thread. May be called again."""
        self._close()


class _Loop:
    """What runs on the engine's thread, with the way to it."""

    def __init__(self, model: Any, limits: Limits, draft: Any, batching: Batching | None) -> None:
        self.step = Step(model)
        self.batching: Future[Batching] = Future()
        if batching is not None:
            self.batching.set_result(batching)
        self._model, self._draft = model, draft
        self._most = self._limits = limits
        self._schedule = self._new_schedule()
        self._rows: dict[Ticket, Row] = {}
        self._lock = threading.RLock()  # an engine may be collected while its thread is asked for something
        self._failures = 0
        self._failed_before = False
        self._working_since: float | None = None
        self.ended: EngineEnded | None = None
        self.commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work, name="engine", daemon=True)
        self._goes_on = threading.Event()

    def ask(self, command: Callable[[], None]) -> None:
        """Have something done between two ticks, for certain."""
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
            self.thread.join()

    def checkpoint(self) -> None:
        """Raises `EngineEnded` when what is being computed is to be left."""
        if self.ended is not None:
            raise EngineEnded(self.ended.message)

    def hold_still(self) -> None:
        """Compute nothing, not even what is laid out ahead, until `go_on`."""
        if threading.current_thread() is self.thread:
            settle()
            return
        is_still = threading.Event()
        self._goes_on.clear()

        def rest() -> None:
            settle()
            is_still.set()
            self._goes_on.wait()

        try:
            self.ask(rest)
        except EngineEnded:
            self.wait()
        else:
            is_still.wait()

    def go_on(self) -> None:
        """Compute again."""
        self._goes_on.set()

    def forsake(self, reason: str) -> None:
        """In a copy of the process, which has no such thread, and where others may have held the lock."""
        self._lock = threading.RLock()
        self.commands = queue.SimpleQueue()
        self.end(reason)
        if not self.batching.done():
            self.batching.set_exception(EngineEnded(reason))
        self._fail_all(EngineEnded(reason))

    def get_on(self) -> None:
        self._schedule.counts.got_on_at = time.monotonic()

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Take no more memory than that for caches, and never more than at the beginning."""
        self._limits = replace(
            self._most,
            cache_bytes=_least(self._most.cache_bytes, cache_bytes),
            prefix_bytes=_least(self._most.prefix_bytes, prefix_bytes),
        )
        self._schedule.limit(self._limits)

    def add(self, ticket: Ticket, row: Row) -> None:
        self._rows[ticket] = row
        self._schedule.add(row)

    def drop(self, ticket: Ticket) -> None:
        row = self._rows.pop(ticket, None)
        if row is not None:
            self._schedule.drop(row)

    def statistics(self) -> Statistics:
        return self._schedule.statistics(failures=self._failures, working_since=self._working_since)

    def work(self) -> None:
        leave_streams_in_order()
        if self._limits.spare_bytes is not None:
            import mlx.core as mx

            mx.set_cache_limit(self._limits.spare_bytes)
        if not self.batching.done():
            self._examine()
        while self.ended is None:
            self._take_commands()
            if self.ended is None and self._rows:
                self._tick()
        while not self.commands.empty():
            self.commands.get()()
        self._fail_all(self.ended)
        self._schedule = self._new_schedule()  # lets go of all caches

    def _new_schedule(self) -> Schedule:
        is_known = self.batching.done() and self.batching.exception() is None
        batching = self.batching.result() if is_known else EVERYTHING
        return Schedule(self._model, self.step, self._limits, self._draft, batching, checkpoint=self.checkpoint)

    def _examine(self) -> None:
        """Find out what may be computed at once; the engine ends where nothing can be computed."""
        self._working_since = time.monotonic()
        try:
            self.batching.set_result(Batching.of(self._model))
        except Exception as error:  # noqa: BLE001 - it belongs to who asks
            self.end(f"the model cannot be computed: {error}")
            self.batching.set_exception(error)
        else:
            self._schedule = self._new_schedule()

    def _take_commands(self) -> None:
        """Do what was asked meanwhile; wait for it when there is nothing else to do."""
        if not self._rows and self.commands.empty():
            self._working_since = None
            try:
                command = self.commands.get(timeout=_SHORT_SECONDS)
            except queue.Empty:
                self._schedule.rest()
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

    def _tick(self) -> None:
        self._working_since = time.monotonic()
        try:
            done = self._schedule.tick()
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
        counts = self._schedule.counts
        self._schedule = self._new_schedule()
        self._schedule.counts = counts
        if self._failed_before:
            self.end(f"computing failed twice in a row: {error or type(error).__name__}")
        self._failed_before = True

    def _fail_all(self, error: Exception) -> None:
        rows, self._rows = self._rows, {}
        for row in rows.values():
            row.tell([as_failure(error)])


def _least(most_bytes: int | None, size_bytes: int) -> int:
    return size_bytes if most_bytes is None else min(most_bytes, size_bytes)


def _close(loop: _Loop) -> None:
    loop.end("the model was closed")
    loop.wait()
