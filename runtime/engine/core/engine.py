"""A model that answers many requests at once, for callers on any thread. What its own thread does: `loop`."""

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
from mlxbuild.runtime.engine.core.statistics import Statistics
from mlxbuild.runtime.model.threads import require_own_threads
from mlxbuild.runtime.model.tokenizer import Tokenizer

Result = TypeVar("Result")


class Engine:
    """Answers requests with one model. All methods may be called from any thread, and none of them waits for MLX
    but `batching`.

    An iteration that fails ends every request on its way with a `Failure`; the engine goes on with new caches. A second
    such iteration in a row ends the engine. It also ends when nobody has it any more, and before its process does.
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
        self._loop = Loop(model, limits, draft, batching)
        self._last_ticket = 0
        self._lock = threading.Lock()
        self._loop.start()
        self._close = weakref.finalize(self, _close, self._loop)
        self._close.atexit = False  # `ending` sees to that

    def submit(self, prepared: Prepared, deliver: Deliver) -> Ticket:
        """Answer a request. `deliver` gets its events, of each iteration together, on the engine's thread.

        The last event is a chunk with an ending, or a `Failure`. A `deliver` that raises cancels its request.

        Raises:
            EngineEnded: the engine takes no more requests.
        """
        row = SequenceState(prepared, deliver, self._tokenizer)
        with self._lock:
            self._last_ticket += 1
            ticket = Ticket(self._last_ticket)
        self._loop.ask(lambda: self._loop.add(ticket, row))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Compute no further for a request. Nothing is delivered after the iteration that is on its way."""
        loop = self._loop
        if loop.ended is None:
            loop.commands.put(lambda: loop.drop(ticket))

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Have something computed on the engine's thread, between two iterations; it fails if the engine ends before.

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
        """Let KV caches of running answers, and the prefix cache, take less from now on, or as much as at first.

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


def _close(loop: Loop) -> None:
    loop.end("the model was closed")
    loop.wait()
