"""The engine: answers many requests at once with one model, for callers on any thread. Its own thread is in `loop`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mlxbuild.runtime.engine.core.batching import Batching
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import EngineEnded, Loop, Ticket
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.sequence import Deliver, SequenceState
from mlxbuild.runtime.model.threads import require_own_threads
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.statistics import EngineStatistics

Result = TypeVar("Result")


class Engine:
    """Answers requests with one model. Thread-safe; only `batching` waits for MLX.

    If an iteration fails, all requests in progress end with a `Failure`, and the engine goes on with new KV caches. A
    second failed iteration in a row ends the engine. It also ends when nobody refers to it any more, and before its
    process ends.
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
        """Start the thread for a model of mlx-lm whose arrays are evaluated, with resolved limits.

        `draft` is a smaller model with the same tokens, for speculative decoding of an answer that is computed alone.
        `batching` is found by a trial before anything else, where it is not given.

        Raises:
            ForkedProcess: MLX has computed in another process, from which this one was forked.
        """
        require_own_threads()
        self._tokenizer = tokenizer
        self._loop = Loop(model, limits, draft, batching)
        self._last_ticket = 0
        self._lock = threading.Lock()
        self._loop.start()
        self._close = weakref.finalize(self, _close, self._loop)
        self._close.atexit = False  # `shutdown` does that

    def submit(self, prepared: Prepared, deliver: Deliver) -> Ticket:
        """Queue a request. `deliver` is called on the engine's thread with all events of an iteration together.

        The last event is a chunk with the finish reason, or a `Failure`. If `deliver` raises, the request is cancelled.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        sequence = SequenceState(prepared, deliver, self._tokenizer)
        with self._lock:
            self._last_ticket += 1
            ticket = Ticket(self._last_ticket)
        self._loop.ask(lambda: self._loop.add(ticket, sequence))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a request. Nothing is delivered after the current iteration."""
        loop = self._loop
        if loop.ended is None:
            loop.commands.put(lambda: loop.drop(ticket))

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Run a function on the engine's thread between two iterations; the future fails if the engine ends first.

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
                    self._loop.note_progress()
                    future.set_result(result)

        self._loop.ask(command)
        return future

    def compile_steps(self) -> Future[None]:
        """Use compiled decode steps from now on for sequences that are computed alone.

        The first step takes seconds where MLX does not find kernels that were compiled before.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        return self.run(self._loop.step.compile)

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Set new bounds for the KV caches of running sequences and for the prefix cache, up to the initial ones.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        loop = self._loop
        loop.ask(lambda: loop.limit(cache_bytes, prefix_bytes))

    @property
    def batching(self) -> Batching:
        """What may be computed together; waits until the trial is over.

        Raises:
            NeedsMetal, NotComputable, OutOfMemory: the model cannot be computed; the engine has ended.
        """
        return self._loop.batching.result()

    def statistics(self) -> EngineStatistics:
        """Counters and the current state."""
        return self._loop.statistics()

    def checkpoint(self) -> None:
        """To be called regularly by long work on the engine's thread.

        Raises:
            EngineEnded: the engine ends, and the work has to stop.
        """
        self._loop.checkpoint()

    @property
    def ended(self) -> EngineEnded | None:
        """The reason why the engine takes no more requests; None while it does."""
        return self._loop.ended

    def close(self) -> None:
        """Fail the requests in progress and end the thread. May be called again."""
        self._close()


def _close(loop: Loop) -> None:
    loop.end("the model was closed")
    loop.wait()
