"""Selects the display of a build: live on a terminal, annotations on GitHub, JSON for programs, else plain lines."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

import typer

from mlxbuild.registry.core.errors import MlxbuildError, UserError
from mlxbuild.toolchain.events.github import GithubAnnotations
from mlxbuild.toolchain.events.model import Event, Failed, RunFinished, Sink, Warned
from mlxbuild.toolchain.events.plain import PlainLines
from mlxbuild.toolchain.events.records import JsonLines
from mlxbuild.toolchain.failures import failures


class UnknownDisplay(UserError):
    """There is no display of that name."""

    code = "unknown-display"


class NoProgress(PlainLines):
    """Shows only errors and warnings."""

    def handle(self, event: Event) -> None:
        """See `Sink.handle`."""
        if isinstance(event, Failed | Warned):
            super().handle(event)


@contextlib.contextmanager
def told_on(choice: str) -> Iterator[Sink]:
    """The display of a build command. As JSON lines, it also shows the errors that end the command.

    Raises:
        UnknownDisplay: no display has that name.
    """
    display, begun = progress_sink(choice), time.monotonic()
    try:
        yield display
    except MlxbuildError as error:
        if not isinstance(display, JsonLines):
            raise
        for failed in failures(error):
            display.handle(failed)
        display.handle(RunFinished(round(time.monotonic() - begun, 3), {}, error.exit_code))
        raise typer.Exit(error.exit_code) from None


def is_text(display: Sink) -> bool:
    """Whether a display is for people who follow the build: live or plain."""
    return not isinstance(display, NoProgress | GithubAnnotations | JsonLines)


def progress_sink(choice: str) -> Sink:
    """The display of a name; `auto` means `MLXBUILD_PROGRESS`, if set, or depends on what stderr is.

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
        case "json":
            return JsonLines(sys.stderr)
        case "none":
            return NoProgress(sys.stderr)
    known = "auto, live, plain, github, json and none"
    raise UnknownDisplay(f"there is no display `{choice}`", hint=f"displays are {known}")


def _fitting() -> str:
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
