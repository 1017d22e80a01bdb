"""Which consumer of events shows a build: live on a terminal, annotations on GitHub, else plain lines."""

from __future__ import annotations

import os
import sys

from mlxbuild.registry.errors import UserError
from mlxbuild.toolchain.events.github import GithubAnnotations
from mlxbuild.toolchain.events.model import Event, Failed, Sink, Warned
from mlxbuild.toolchain.events.plain import PlainLines


class UnknownDisplay(UserError):
    """There is no display of that name."""

    code = "unknown-display"


class NoProgress(PlainLines):
    """Shows errors and warnings, and nothing else."""

    def handle(self, event: Event) -> None:
        """See `Sink.handle`."""
        if isinstance(event, Failed | Warned):
            super().handle(event)


def progress_sink(choice: str) -> Sink:
    """The display that is asked for; `auto` looks at where stderr goes. `MLXBUILD_PROGRESS` stands in for `auto`.

    Raises:
        UnknownDisplay: no display has that name.
    """
    if choice == "auto":
        choice = os.environ.get("MLXBUILD_PROGRESS") or _fitting()
    match choice:
        case "live":
            from mlxbuild.toolchain.events.terminal import LiveDisplay

            return LiveDisplay(sys.stderr)
        case "plain":
            return PlainLines(sys.stderr)
        case "github":
            return GithubAnnotations(sys.stderr)
        case "none":
            return NoProgress(sys.stderr)
    raise UnknownDisplay(f"there is no display `{choice}`", hint="displays are auto, live, plain, github and none")


def _fitting() -> str:
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
