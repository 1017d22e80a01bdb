"""The executor that runs actions in worker processes, so that memory is freed and a crash fails only one action."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from queue import SimpleQueue

from mlxbuild.toolchain.execute.perform import ExecutionContext
from mlxbuild.toolchain.execute.port import (
    ActionEvent,
    ActionRequest,
    Cancelled,
    FailedAction,
    Finished,
    WorkerLost,
)
from mlxbuild.toolchain.execute.worker import event_from_json, request_to_json

STEPS_ENTRY = "mlxbuild.toolchain.core.steps:STEPS"

_GRACE_SECONDS = 10


class _Child:
    """A worker process and the request it works on."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.current: ActionRequest | None = None
        self.listener: threading.Thread | None = None

    def send(self, request: ActionRequest) -> None:
        self.current = request
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request_to_json(request)) + "\n")
        self.process.stdin.flush()


class ProcessExecutor:
    """Runs `jobs` worker processes, each with one action at a time; a process that dies is replaced."""

    name = "process"

    def __init__(self, context: ExecutionContext, jobs: int | None = None, steps: str = STEPS_ENTRY) -> None:
        """`steps` names the step table for the worker processes, as `module:name`."""
        self._command = [
            sys.executable,
            "-m",
            "mlxbuild.toolchain.execute.worker",
            str(context.store.home.root),
            steps,
            *sorted(context.refresh),
        ]
        self._jobs = jobs or os.cpu_count() or 1
        self.capacity = 2 * self._jobs
        self._events: SimpleQueue[ActionEvent] = SimpleQueue()
        self._waiting: deque[ActionRequest] = deque()
        self._children: list[_Child] = []
        self._lock = threading.RLock()
        self._closing = False

    def start(self, events: SimpleQueue[ActionEvent]) -> None:
        """See `Executor.start`. Worker processes start with the first requests."""
        self._events = events

    def submit(self, request: ActionRequest) -> None:
        """See `Executor.submit`."""
        with self._lock:
            self._waiting.append(request)
            self._dispatch()

    def _dispatch(self) -> None:
        """Give waiting requests to idle worker processes; two requests that hold a whole model never run at once."""
        while self._waiting and not self._closing:
            request = self._next_runnable()
            if request is None:
                return
            child = next((child for child in self._children if child.current is None), None)
            if child is None:
                if len(self._children) >= self._jobs:
                    return
                child = _Child(self._command)
                self._children.append(child)
                child.listener = threading.Thread(target=self._listen, args=(child,), daemon=True)
                child.listener.start()
            self._waiting.remove(request)
            try:
                child.send(request)
            except BrokenPipeError:
                continue  # its listener thread sees the end of the process and reports it

    def _next_runnable(self) -> ActionRequest | None:
        busy = any(child.current is not None and child.current.lane == "model" for child in self._children)
        return next((request for request in self._waiting if not (busy and request.lane == "model")), None)

    def _listen(self, child: _Child) -> None:
        with child.process:
            assert child.process.stdout is not None
            for line in child.process.stdout:
                event = event_from_json(json.loads(line))
                if isinstance(event, Finished | FailedAction):
                    with self._lock:
                        child.current = None
                        self._dispatch()
                self._events.put(event)
        self._bury(child)

    def _bury(self, child: _Child) -> None:
        with self._lock:
            self._children.remove(child)
            request = child.current
            if request is not None:
                self._events.put(FailedAction(request.label, self._loss(child, request)))
            self._dispatch()

    def _loss(self, child: _Child, request: ActionRequest) -> Cancelled | WorkerLost:
        if self._closing:
            return Cancelled("stopped", where=request.label)
        code = child.process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return WorkerLost(
            f"the process that ran it {how}",
            where=request.label,
            hint="it may have run out of memory: try `--jobs 1`" if code == -signal.SIGKILL else None,
        )

    def close(self, *, cancel: bool) -> None:
        """See `Executor.close`. Worker processes get SIGTERM, and SIGKILL after ten seconds."""
        with self._lock:
            self._closing = True
            self._waiting.clear()
            children = tuple(self._children)
        for child in children:
            if cancel:
                child.process.terminate()
            elif child.process.stdin is not None:
                child.process.stdin.close()
        for child in children:
            try:
                child.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
            if child.listener is not None:
                child.listener.join()
