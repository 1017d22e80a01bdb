"""A sink that writes one line per event, for logs, pipes and CI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from mlxbuild.registry.core.printable import printable
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.toolchain.events.model import (
    ActionFinished,
    ActionStarted,
    ArtifactBuilt,
    Event,
    Failed,
    GateReported,
    Noted,
    RunFinished,
    RunStarted,
    Warned,
)

_MOST_NAMED = 4
_INTERRUPTED = 130


class PlainLines:
    """Writes lines without colour or cursor movement."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._nodes = 0
        self._actions = 0
        self._done = 0

    def handle(self, event: Event) -> None:
        """Write a line for each event that a reader of a log wants to see."""
        match event:
            case RunStarted(artifacts=artifacts, actions=nodes):
                self._nodes, self._actions = nodes, actions_of(event)
                files = f", {nodes - self._actions} source files" if nodes > self._actions else ""
                self.line(f"building {listed_artifacts(artifacts)} ({self._actions} actions{files})")
            case ActionStarted(label, reason, work_bytes):
                size = f"  {format_bytes(work_bytes)}" if work_bytes else ""
                self.line(f"run   {label}{size}  ({reason})" if reason else f"run   {label}{size}")
            case ActionFinished():
                self._finished(event)
            case GateReported(label, passed, message):
                self.line(f"{'pass' if passed else 'FAIL'}  {label}  {message}")
            case ArtifactBuilt(label, digest, size_bytes):
                self.line(f"built {label}  {digest[:19]}  {format_bytes(size_bytes)}{untagged(event)}")
            case Noted(message):
                self.line(message)
            case Warned(message, where):
                self.warning(message, where)
            case Failed():
                self.failure(event)
            case RunFinished(seconds, outcomes, exit_code):
                self.line(summary(seconds, outcomes, None if exit_code == _INTERRUPTED else self._nodes))
            case _:
                pass

    def _finished(self, event: ActionFinished) -> None:
        self._done += not is_fetch(event.label)
        if event.outcome in ("ran", "failed"):
            self.line(
                f"{event.outcome:5} {event.label}  {format_seconds(event.seconds)}  [{self._done}/{self._actions}]"
            )
        elif event.outcome == "skipped":
            self.line(f"skip  {event.label}  ({event.reason})")

    def line(self, text: str) -> None:
        """Write one line, with control characters escaped."""
        self._out.write(f"{printable(text)}\n")
        self._out.flush()

    def warning(self, message: str, where: str | None) -> None:
        """Write a warning."""
        self.line(f"warning: {message}" + (f" ({where})" if where else ""))

    def failure(self, event: Failed) -> None:
        """Write an error: what happened, where, and the hint."""
        self.line(f"error[{event.code}]: {event.message}")
        if event.where:
            self.line(f"  --> {event.where}")
        if event.hint:
            self.line(f"hint: {event.hint}")

    def close(self) -> None:
        """See `Sink.close`."""
        self._out.flush()


def actions_of(event: RunStarted) -> int:
    """The number of actions of a run, without the source files that they read."""
    return event.actions - event.steps.get("fetch", 0)


def is_fetch(label: str) -> bool:
    """Whether a label is that of a source file; actions begin with the name of an artifact and a colon."""
    return label.startswith("fetch/")


def untagged(event: ArtifactBuilt) -> str:
    """What is added to the line of an artifact whose tags did not move."""
    return f"  ({event.untagged}, no tag moved)" if event.untagged else ""


def listed_artifacts(artifacts: Sequence[str]) -> str:
    """The artifacts of a run for one line: their names, or the number of them and the names of their recipes."""
    if len(artifacts) <= _MOST_NAMED:
        return ", ".join(artifacts)
    names = list(dict.fromkeys(artifact.partition(":")[0] for artifact in artifacts))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(artifacts)} artifacts of {', '.join(names[:_MOST_NAMED])}{more}"


def summary(seconds: float, outcomes: dict[str, int], nodes: int | None = None) -> str:
    """The last line of a run: its duration, and the number of actions and source files by outcome.

    `nodes` is the number of both; those without an outcome are source files that no action needed.
    """
    names = (
        ("hit", "cached"),
        ("shared", "shared between variants"),
        ("ran", "ran"),
        ("present", "read in place"),
        ("failed", "failed"),
        ("skipped", "skipped"),
    )
    parts = [f"{outcomes[key]} {word}" for key, word in names if outcomes.get(key)]
    if nodes is not None and (unneeded := nodes - sum(outcomes.values())) > 0:
        parts.append(f"{unneeded} source file{'' if unneeded == 1 else 's'} not needed")
    return f"{', '.join(parts) or 'nothing to do'} in {format_seconds(seconds)}"
