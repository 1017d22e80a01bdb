"""Shows the progress of pushes, pulls and copies: bars on a terminal, else lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mlxbuild.cli.choices import UnknownChoice
from mlxbuild.cli.transfer_lines import TransferLines
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    Event,
    EvidenceLeftOut,
    ExchangeBegan,
    ExchangeEnded,
    MirrorLeftOut,
    NamedBlob,
    Observe,
    Warned,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

TransferProgress = Annotated[
    str, typer.Option("--progress", metavar="auto|live|plain|none", help="How to show progress.")
]
Jobs = Annotated[int, typer.Option("-j", "--jobs", min=1, max=32, help="Number of concurrent transfers.")]


@contextmanager
def shown(choice: str) -> Iterator[Observe]:
    """An observer that displays events; `auto` means `MLXBUILD_PROGRESS`, if set, or depends on what stderr is.

    Raises:
        UserError: no display has that name.
    """
    if choice == "auto":
        choice = os.environ.get("MLXBUILD_PROGRESS") or ("live" if _is_terminal() else "plain")
        choice = "plain" if choice in ("github", "json") else choice  # these exist for builds only
    match choice:
        case "live":
            display = _Bars()
            try:
                yield display.handle
            finally:
                display.close()
        case "plain":
            lines = TransferLines(tell)
            yield lambda event: (_warn if _warning(event) else lines.handle)(event)
        case "none":
            yield _warn
        case _:
            raise UnknownChoice(f"there is no display `{choice}`", hint="displays are auto, live, plain and none")


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _warn(event: Event) -> None:
    if text := _warning(event):
        tell(text)


def _warning(event: Event) -> str | None:
    match event:
        case EvidenceLeftOut(digest, reason):
            return f"warning: {digest} is left out: {reason}"
        case MirrorLeftOut(name, reason):
            return f"warning: the mirror {name} is left out: {reason}"
        case Warned(message):
            return message
    return None


class _Bars:
    """One bar for the total, and one for each blob being transferred."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(file=sys.stderr, highlight=False),
            transient=True,
        )
        self._all: TaskID | None = None
        self._moving: dict[NamedBlob, TaskID] = {}
        self._progress.start()

    def handle(self, event: Event) -> None:
        """Show an event."""
        match event:
            case ExchangeBegan(title, _, size_bytes):
                self._all = self._progress.add_task(title, total=size_bytes)
            case BlobAdvanced(item, count):
                if item not in self._moving:
                    self._moving[item] = self._progress.add_task(f"  {item.name}", total=item.blob.size_bytes)
                for task in (self._moving[item], self._all):
                    if task is not None:
                        self._progress.advance(task, count)
            case BlobEnded(item):
                if (ended := self._moving.pop(item, None)) is not None:
                    self._progress.remove_task(ended)
            case ExchangeEnded():
                if self._all is not None:
                    self._progress.remove_task(self._all)
                    self._all = None
            case _:
                if text := _warning(event):
                    self._progress.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bars."""
        self._progress.stop()
