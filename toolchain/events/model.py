"""The events of a build as data; sinks display or record them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

Outcome = Literal["hit", "ran", "failed", "skipped", "present", "shared"]
"""hit: a trace with its outputs was there · ran · failed · skipped: a dependency failed · present: a source file is
already on this machine · shared: another node of this run had the same key."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A command that builds has started."""

    run: str
    command: tuple[str, ...]
    artifacts: tuple[str, ...]
    actions: int
    steps: dict[str, int] = field(default_factory=dict)
    """The number of actions of each kind of step, those that are cached among them."""
    work_bytes: dict[str, int] = field(default_factory=dict)
    """The source bytes of each kind of step."""


@dataclass(frozen=True, slots=True)
class ActionStarted:
    """An action has started to run."""

    label: str
    reason: str
    work_bytes: int


@dataclass(frozen=True, slots=True)
class ActionProgress:
    """A running action has processed more source bytes."""

    label: str
    done_bytes: int


@dataclass(frozen=True, slots=True)
class ActionFinished:
    """An action has ended with an outcome."""

    label: str
    outcome: Outcome
    seconds: float
    key: str | None
    reason: str
    work_bytes: int


@dataclass(frozen=True, slots=True)
class GateReported:
    """A gate has passed or failed."""

    label: str
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class ArtifactBuilt:
    """An artifact is in the store; `tags` now point to it."""

    label: str
    digest: str
    size_bytes: int
    tags: tuple[str, ...]
    untagged: str | None = None
    """Why no tag moved although gates were asked for; None if one moved, or no gates were to run."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something was done before or after the actions, such as locking, or uploading to the remote cache."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: the run continues."""

    message: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An error of the run or of one action: what happened, where, and a hint."""

    code: str
    kind: str
    message: str
    where: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The command has ended, possibly before anything was built."""

    seconds: float
    outcomes: dict[str, int]
    exit_code: int


Event = (
    RunStarted
    | ActionStarted
    | ActionProgress
    | ActionFinished
    | GateReported
    | ArtifactBuilt
    | Noted
    | Warned
    | Failed
    | RunFinished
)

Notice = Noted | Warned
"""Events that can be emitted before a build starts."""


class Sink(Protocol):
    """A consumer of events. It is called from one thread, in order."""

    def handle(self, event: Event) -> None:
        """Process one event."""

    def close(self) -> None:
        """Called after the last event."""
