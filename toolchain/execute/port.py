"""The executor port: what crosses to whoever does the work, and what comes back. No scheduling here.

A request is small plain data: the record, and where the source files that it names lie. Results are digests; the
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
    """The build is being stopped."""

    code = "interrupted"
    kind = Kind.USER
    exit_code = 130


class WorkerLost(MlxbuildError):
    """The process that ran an action died."""

    code = "worker-lost"
    kind = Kind.ENVIRONMENT
    exit_code = 6


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """One action to run."""

    label: str
    key: Digest
    record: ActionRecord
    files: Mapping[Digest, Path]
    """Where the source files lie that the record names; everything else is in the store."""
    lane: Literal["work", "model"] = "work"


@dataclass(frozen=True, slots=True)
class Begun:
    """An action has left the queue."""

    label: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """Some more source bytes are done."""

    label: str
    done_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """An action has its outputs, in the store and in its trace."""

    label: str
    outputs: Mapping[str, Blob]
    seconds: float
    was_hit: bool
    """Another process had finished it meanwhile."""
    diverged_from: Mapping[str, Blob] | None = None
    """Earlier outputs of the same key, where they differ."""


@dataclass(frozen=True, slots=True)
class FailedAction:
    """An action came to nothing."""

    label: str
    error: MlxbuildError


@dataclass(frozen=True, slots=True)
class Answered:
    """A remote cache was asked; `trace` is what it has, its outputs being in the store by now."""

    label: str
    trace: Trace | None


ActionEvent = Begun | Progressed | Finished | FailedAction | Answered


class Executor(Protocol):
    """Runs requests somewhere and reports on a queue."""

    name: str
    capacity: int
    """How many requests are worth having at once."""

    def start(self, events: SimpleQueue[ActionEvent]) -> None:
        """Be ready; every event goes to this queue from now on."""

    def submit(self, request: ActionRequest) -> None:
        """Take a request; returns at once. Its last event is `Finished` or `FailedAction`."""

    def close(self, *, cancel: bool) -> None:
        """Stop. With `cancel`, what runs is broken off, and no child process is left behind."""
