"""The executor interface: the requests that go to an executor, and the events that come back.

A request is small plain data: the record, and the paths of the source files that it names. Results are digests; the
bytes are in the store. Every executor passes the same contract test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, Protocol

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import Kind, MlxbuildError
from mlxbuild.toolchain.cache.traces import Trace
from mlxbuild.toolchain.core.action import ActionRecord


class Cancelled(MlxbuildError):
    """The build is being cancelled."""

    code = "interrupted"
    kind = Kind.USER
    exit_code = 130


class WorkerLost(MlxbuildError):
    """The worker process that ran an action died."""

    code = "worker-lost"
    kind = Kind.ENVIRONMENT
    exit_code = 6


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A request to run one action."""

    label: str
    key: Digest
    record: ActionRecord
    files: Mapping[Digest, Path]
    """Paths of the source files that the record names; all other inputs are in the store."""
    lane: Literal["work", "model"] = "work"


@dataclass(frozen=True, slots=True)
class Begun:
    """An action has left the queue and started to run."""

    label: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """An action has processed more source bytes."""

    label: str
    done_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """An action has finished; its outputs are in the store and in its trace."""

    label: str
    outputs: Mapping[str, Blob]
    seconds: float
    was_hit: bool
    """Another process had finished the action in the meantime."""
    diverged_from: Mapping[str, Blob] | None = None
    """The earlier outputs of the same key, if they differ."""


@dataclass(frozen=True, slots=True)
class FailedAction:
    """An action has failed."""

    label: str
    error: MlxbuildError


@dataclass(frozen=True, slots=True)
class Answered:
    """A remote cache has answered; `trace` is the trace it has, with outputs already in the store, or None."""

    label: str
    trace: Trace | None


ActionEvent = Begun | Progressed | Finished | FailedAction | Answered


class Executor(Protocol):
    """Runs requests and reports their events on a queue."""

    name: str
    capacity: int
    """The number of requests that it can make use of at once."""

    def start(self, events: SimpleQueue[ActionEvent]) -> None:
        """Start; all events go to this queue from now on."""

    def submit(self, request: ActionRequest) -> None:
        """Accept a request and return at once. Its last event is `Finished` or `FailedAction`."""

    def close(self, *, cancel: bool) -> None:
        """Stop. `cancel` aborts running actions; no child process is left behind."""
