"""A load on a thread of its own, which its process waits for before it ends. What a load does: `runtime.model.load`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from mlxbuild.runtime.engine.core import shutdown as ending
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.model.threads import end_streams

Result = TypeVar("Result")


def apart(load: Callable[[Callable[[], None]], Result]) -> Result:
    """What `load` returns, and raises. It is given a checkpoint, which has it left when it is to be.

    Threads of callers may outlive Python (daemons do), and the process would abort with MLX's streams in them.

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
    """A load that is left between two modules when its process ends. A fork waits until it is over."""

    def __init__(self, load: Callable[[Callable[[], None]], Result]) -> None:
        self._load = load
        self._is_over = threading.Event()
        self._reason: str | None = None
        self.result: Future[Any] = Future()

    def work(self) -> None:
        """On the load's own thread."""
        ending.remember(self)
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
        """Have it left at the next checkpoint."""
        self._reason = self._reason or reason

    def wait(self) -> None:
        """Until nothing is computed any more."""
        self._is_over.wait()

    def hold_still(self) -> None:
        """Until it is over."""
        self.wait()

    def go_on(self) -> None:
        """It is over."""

    def forsake(self, reason: str) -> None:
        """It was over."""
