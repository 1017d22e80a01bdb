"""What happens in a build, as data. Who shows or keeps it lives beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["hit", "ran", "failed", "skipped", "present", "shared"]
"""hit: outputs were there · ran · failed · skipped: something it needs failed · present: a source file already on
this machine · shared: another node of this run had the same key."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A command that builds has begun."""

    run: str
    command: tuple[str, ...]
    artifacts: tuple[str, ...]
    actions: int


@dataclass(frozen=True, slots=True)
class ActionStarted:
    """An action that must run has begun."""

    label: str
    reason: str
    work_bytes: int


@dataclass(frozen=True, slots=True)
class ActionProgress:
    """Some more source bytes of a running action are done."""

    label: str
    done_bytes: int


@dataclass(frozen=True, slots=True)
class ActionFinished:
    """An action has its outcome."""

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
    """An artifact is in the store; `tags` are the names that now point to it."""

    label: str
    digest: str
    size_bytes: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that is done before a build begins, such as locking."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know, though the run goes on."""

    message: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An error of the run or of one action: what, where, what to do."""

    code: str
    kind: str
    message: str
    where: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The command is over, though it may have ended before anything was built."""

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
"""What may be told before a build begins."""


class Sink(Protocol):
    """A consumer of events. Called from one thread, in order."""

    def handle(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """No more events come."""
