"""Loads a model on its own thread, which the process joins before it ends. The load itself: `runtime.model.load`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from mlxbuild.runtime.engine.core import shutdown
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.model.threads import end_streams

Result = TypeVar("Result")


def on_own_thread(load: Callable[[Callable[[], None]], Result]) -> Result:
    """Run `load` on its own thread, and return or raise what it does. It gets a checkpoint that raises to stop it.

    Threads of callers, such as daemons, may outlive Python, and MLX's streams in them would abort the process.

    Raises:
        EngineEnded: the process ends.
    """
    loading = Loading(load)
    threading.Thread(target=loading.work, name="loading", daemon=True).start()
    try:
        result: Result = loading.result.result()
    except BaseException:
        loading.end("nobody waits for the load any more")
        raise
    return result


class Loading(Generic[Result]):
    """A load that stops between two modules when the process ends. A fork waits until it is finished."""

    def __init__(self, load: Callable[[Callable[[], None]], Result]) -> None:
        self._load = load
        self._is_over = threading.Event()
        self._reason: str | None = None
        self.result: Future[Any] = Future()

    def work(self) -> None:
        """Run the load; called on its own thread."""
        shutdown.register(self)
        result, failure = None, None
        try:
            self._checkpoint()
            result = self._load(self._checkpoint)
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits
            failure = error
        end_streams()
        self._is_over.set()
        if failure is None:
            self.result.set_result(result)
        else:
            self.result.set_exception(failure)

    def _checkpoint(self) -> None:
        if self._reason is not None:
            raise EngineEnded(self._reason)

    def end(self, reason: str) -> None:
        """Stop the load at its next checkpoint."""
        self._reason = self._reason or reason

    def wait(self) -> None:
        """Wait until nothing is computed any more."""
        self._is_over.wait()

    def pause(self) -> None:
        """Wait until the load is finished."""
        self.wait()

    def resume(self) -> None:
        """Nothing to do: the load is finished."""

    def abandon(self, reason: str) -> None:
        """Nothing to do: the load was finished before the fork."""
