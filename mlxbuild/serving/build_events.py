"""Reads the events of a build in another process: status lines to pass on, and the errors that it ended with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mlxbuild.registry.core.errors import Kind
from mlxbuild.runtime.protocol.events import Failure
from mlxbuild.runtime.server.application import BuildStatus
from mlxbuild.serving.build_stages import BuildStages
from mlxbuild.toolchain.events.model import ArtifactBuilt, Event, Failed
from mlxbuild.toolchain.events.reading import event_of

_MOST_ERRORS = 20
"""The number of errors that are reported in full; the rest are counted."""


class BuildEvents:
    """Collects the event lines of a build."""

    def __init__(self, observe: Callable[[BuildStatus], None]) -> None:
        """`observe` gets the lines for display, without errors."""
        self.built: list[ArtifactBuilt] = []
        self._failed: list[Failed] = []
        self._statuses = BuildStages(observe)
        self._others: deque[str] = deque(maxlen=3)

    def take(self, line: str) -> None:
        """Process one line; a line that is not an event comes from a library, and may explain a crash."""
        event = event_of(line)
        if isinstance(event, Failed):
            self._failed.append(event)
        elif event is not None:
            self._heard(event)
        elif not line.startswith("{"):
            self._others.append(line)

    def _heard(self, event: Event) -> None:
        if isinstance(event, ArtifactBuilt):
            self.built.append(event)
        self._statuses.handle(event)

    def failure(self, code: int) -> Failure:
        """The failure of a build that ended with an exit code, with the errors that it reported."""
        if not self._failed:
            told = f": {' · '.join(self._others)}" if self._others else ""
            return Failure("build-failed", Kind.STEP, f"the build ended with exit code {code}{told}")
        first, *more = self._failed
        if not more:
            return Failure(first.code, first.kind, first.message, first.where, first.hint)
        lines = [_sentence(failed) for failed in self._failed[:_MOST_ERRORS]]
        if left := len(self._failed) - len(lines):
            lines.append(f"and {left} more")
        return Failure(first.code, first.kind, "\n".join(lines))


def _sentence(failed: Failed) -> str:
    told = f"{failed.where}: {failed.message}" if failed.where else failed.message
    return f"{told}; {failed.hint}" if failed.hint else told
