"""A sink that shows a build live on a terminal: an overall bar, and one line for each running action."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from registry.quantities import format_bytes
from toolchain.events.model import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    ArtifactBuilt,
    Event,
    Failed,
    GateReported,
    RunFinished,
    RunStarted,
    Warned,
)
from toolchain.events.plain import summary


class LiveDisplay:
    """Progress by bytes, with speed and time left; finished artifacts, gates and errors stay on the screen."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._running: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._total_bytes = 0

    def handle(self, event: Event) -> None:
        """Show an event."""
        match event:
            case RunStarted(artifacts=artifacts):
                self._print(f"[bold]building[/] {escape(', '.join(artifacts))}")
                self._progress.start()
            case ActionStarted():
                self._started(event)
            case ActionProgress(label, done_bytes):
                for task in (self._running.get(label), self._all):
                    if task is not None:
                        self._progress.advance(task, done_bytes)
            case ActionFinished():
                self._finished(event)
            case GateReported(label, passed, message):
                mark = "[green]✓[/]" if passed else "[red]✗[/]"
                self._print(f"{mark} {escape(label)}  [dim]{escape(message)}[/]")
            case ArtifactBuilt(label, digest, size_bytes, _):
                self._print(f"[green]●[/] [bold]{escape(label)}[/]  {digest[:19]}  [dim]{format_bytes(size_bytes)}[/]")
            case Warned(message, where):
                place = f" [dim]({escape(where)})[/]" if where else ""
                self._print(f"[yellow]warning:[/] {escape(message)}{place}")
            case Failed():
                self._failed(event)
            case RunFinished(seconds, outcomes, _):
                self._progress.stop()
                self._print(f"[dim]{summary(seconds, outcomes)}[/]")

    def _started(self, event: ActionStarted) -> None:
        self._total_bytes += event.work_bytes
        if self._all is None:
            self._all = self._progress.add_task("[bold]all[/]", total=self._total_bytes)
        self._progress.update(self._all, total=self._total_bytes)
        total = event.work_bytes or None
        self._running[event.label] = self._progress.add_task(f"  {escape(event.label)}", total=total)

    def _finished(self, event: ActionFinished) -> None:
        task = self._running.pop(event.label, None)
        if task is not None:
            self._progress.remove_task(task)

    def _failed(self, event: Failed) -> None:
        self._print(f"[bold red]{escape(f'error[{event.code}]')}:[/] {escape(event.message)}")
        if event.where:
            self._print(f"  [dim]-->[/] {escape(event.where)}")
        if event.hint:
            self._print(f"[cyan]hint:[/] {escape(event.hint)}")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def close(self) -> None:
        """Take the display down."""
        self._progress.stop()
