"""Sums up the events of a build as one status line for each stage; stages that move weights tell how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from mlxbuild.registry.core.printable import printable
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.runtime.server.application import BuildStatus
from mlxbuild.toolchain.events.model import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    ArtifactBuilt,
    Event,
    GateReported,
    Noted,
    RunFinished,
    RunStarted,
    Warned,
)
from mlxbuild.toolchain.events.plain import listed_artifacts, summary

_STAGES = {
    "fetch": ("reading", "file"),
    "convert": ("converting", "block"),
    "quantize": ("quantizing", "block"),
    "tokenizer": ("preparing", "tokenizer"),
    "template": ("preparing", "chat template"),
    "pack": ("packing", "artifact"),
    "measure": ("measuring", "base"),
    "gate": ("running", "gate"),
}


class BuildStages:
    """Passes on warnings, gates that failed, artifacts, and the stages that begin, each once."""

    def __init__(self, observe: Callable[[BuildStatus], None]) -> None:
        self._observe = observe
        self._steps: Mapping[str, int] = {}
        self._total_bytes: Mapping[str, int] = {}
        self._done_bytes = Counter[str]()
        self._running_bytes = Counter[str]()
        self._begun: set[str] = set()

    def handle(self, event: Event) -> None:
        """Process one event."""
        match event:
            case RunStarted(artifacts=artifacts, steps=steps, work_bytes=work_bytes):
                self._steps, self._total_bytes = steps, work_bytes
                self._tell(f"building {listed_artifacts(artifacts)}")
            case ActionStarted(label):
                self._begin(_step(label))
            case ActionProgress(label, done_bytes):
                self._running_bytes[label] += done_bytes
                self._advance(_step(label), done_bytes)
            case ActionFinished(label=label, work_bytes=work_bytes, outcome=outcome):
                if outcome == "present":
                    self._begin(_step(label))
                self._advance(_step(label), work_bytes - self._running_bytes.pop(label, 0))
            case GateReported(label, passed=False, message=message):
                self._tell(f"FAIL  {label}  {message}")
            case ArtifactBuilt(label, digest, size_bytes):
                self._tell(f"built {label}  {digest[:19]}  {format_bytes(size_bytes)}")
            case Noted(message):
                self._tell(message)
            case Warned(message, where):
                self._tell(f"warning: {message}" + (f" ({where})" if where else ""))
            case RunFinished(seconds, outcomes, exit_code):
                for step in self._begun if exit_code == 0 else ():
                    self._advance(step, self._total_bytes.get(step, 0))  # cached actions need no file to be read
                self._tell(summary(seconds, outcomes))
            case _:
                pass

    def _begin(self, step: str) -> None:
        if step in self._begun:
            return
        self._begun.add(step)
        if self._total_bytes.get(step):
            self._advance(step, 0)
        else:
            self._tell(self._told(step))

    def _advance(self, step: str, count: int) -> None:
        self._done_bytes[step] += count
        total = self._total_bytes.get(step, 0)
        if step in self._begun and total:
            completed = min(self._done_bytes[step], total)
            self._observe(BuildStatus(self._told(step), step, total, completed))

    def _told(self, step: str) -> str:
        count = self._steps.get(step, 0)
        verb, noun = _STAGES.get(step, (step, "action"))
        return f"{verb} {count} {noun}{'' if count == 1 else 's'}"

    def _tell(self, text: str) -> None:
        self._observe(BuildStatus(printable(text)))


def _step(label: str) -> str:
    """The kind of step of an action: `fetch/PATH`, or `name:variant/STEP/…`."""
    first, _, rest = label.partition("/")
    return first if ":" not in first else rest.partition("/")[0]
