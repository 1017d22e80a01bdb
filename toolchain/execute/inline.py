"""The executor that runs actions in threads of this process; MLX and hashing release the GIL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.execute.perform import ExecutionContext, perform
from mlxbuild.toolchain.execute.port import ActionEvent, ActionRequest, Begun, Cancelled, FailedAction, Progressed


class InlineExecutor:
    """Runs `jobs` threads for ordinary steps, and one thread for steps that hold a whole model."""

    name = "inline"

    def __init__(self, context: ExecutionContext, jobs: int | None = None) -> None:
        self._context = context
        self._jobs = jobs or os.cpu_count() or 1
        self.capacity = 2 * self._jobs
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._stop = threading.Event()
        self._events: SimpleQueue[ActionEvent] = SimpleQueue()

    def start(self, events: SimpleQueue[ActionEvent]) -> None:
        """See `Executor.start`. Threads start with the first request of their lane."""
        self._events = events

    def submit(self, request: ActionRequest) -> None:
        """See `Executor.submit`."""
        lane = self._lanes.get(request.lane)
        if lane is None:
            threads = self._jobs if request.lane == "work" else 1
            lane = self._lanes[request.lane] = ThreadPoolExecutor(threads, f"mlxbuild-{request.lane}")
        lane.submit(self._run, request)

    def _run(self, request: ActionRequest) -> None:
        def progress(done_bytes: int) -> None:
            self._events.put(Progressed(request.label, done_bytes))

        report(self._events, request.label, lambda: self._perform(request, progress))

    def _perform(self, request: ActionRequest, progress: Callable[[int], None]) -> ActionEvent:
        self._checkpoint()
        self._events.put(Begun(request.label))
        step = self._context.steps[request.record.step].load()
        return perform(request, self._context, step, progress, self._checkpoint)

    def _checkpoint(self) -> None:
        if self._stop.is_set():
            raise Cancelled("stopped")

    def close(self, *, cancel: bool) -> None:
        """See `Executor.close`. Running actions stop at their next checkpoint."""
        if cancel:
            self._stop.set()
        for lane in self._lanes.values():
            lane.shutdown(wait=True, cancel_futures=cancel)


def report(events: SimpleQueue[ActionEvent], label: str, work: Callable[[], ActionEvent]) -> None:
    """Do some work and put its outcome, whatever it is, on the queue that the execution waits for."""
    try:
        events.put(work())
    except MlxbuildError as error:
        events.put(FailedAction(label, error))
    except BaseException as error:  # noqa: BLE001 - a thread that dies silently would hang the build
        events.put(FailedAction(label, MlxbuildError(f"{type(error).__name__}: {error}")))
