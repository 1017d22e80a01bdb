"""A sink that shows a build live on a terminal: a line for the whole run, and one for each running action."""

from __future__ import annotations

import threading
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from mlxbuild.registry.core.printable import printable
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.toolchain.events.model import (
    ActionFinished,
    ActionProgress,
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
from mlxbuild.toolchain.events.plain import actions_of, is_fetch, listed_artifacts, summary, untagged

_FRAME_SECONDS = 0.1


class LiveDisplay:
    """Shows progress in bytes with speed and time left; finished artifacts, gates and errors stay on the screen.

    A thread of its own redraws between events. One lock keeps it from drawing over a line that is being printed, which
    rich's own refresh does not prevent.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=16),
            _Measures(),
            console=self._console,
            transient=True,
            auto_refresh=False,
            expand=True,
        )
        self._running: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._actions = 0
        self._done = 0
        self._work_bytes = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._painter = threading.Thread(target=self._repaint, name="mlxbuild-display", daemon=True)

    def handle(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case RunStarted(artifacts=artifacts):
                self._actions = actions_of(event)
                self._print(f"[bold]building[/] {escape(listed_artifacts(artifacts))}")
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
            case ArtifactBuilt(label, digest, size_bytes):
                told = f"{format_bytes(size_bytes)}{untagged(event)}"
                self._print(f"[green]●[/] [bold]{escape(label)}[/]  {digest[:19]}  [dim]{told}[/]")
            case Noted(message):
                self._print(escape(message))
            case Warned(message, where):
                place = f" [dim]({escape(where)})[/]" if where else ""
                self._print(f"[yellow]warning:[/] {escape(message)}{place}")
            case Failed():
                self._failed(event)
            case RunFinished(seconds, outcomes, _):
                self._progress.stop()
                self._print(f"[dim]{summary(seconds, outcomes)}[/]")

    def _started(self, event: ActionStarted) -> None:
        self._work_bytes += event.work_bytes
        if self._all is None:
            self._all = self._progress.add_task(self._title(), total=None)
            self._progress.start()
            self._painter.start()
        self._progress.update(self._all, total=self._work_bytes or None)
        total = event.work_bytes or None
        self._running[event.label] = self._progress.add_task(escape(event.label), total=total)

    def _finished(self, event: ActionFinished) -> None:
        self._done += not is_fetch(event.label)
        task = self._running.pop(event.label, None)
        if task is not None:
            self._progress.remove_task(task)
        if self._all is not None:
            self._progress.update(self._all, description=self._title())

    def _title(self) -> str:
        return f"[bold]{self._done} of {self._actions} actions[/]"

    def _failed(self, event: Failed) -> None:
        self._print(f"[bold red]{escape(f'error[{event.code}]')}:[/] {escape(event.message)}")
        if event.where:
            self._print(f"  [dim]-->[/] {escape(event.where)}")
        if event.hint:
            self._print(f"[cyan]hint:[/] {escape(event.hint)}")

    def _repaint(self) -> None:
        while not self._closed.wait(_FRAME_SECONDS):
            with self._lock:
                self._progress.refresh()

    def _print(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)

    def close(self) -> None:
        """Remove the display."""
        self._closed.set()
        if self._painter.is_alive():
            self._painter.join()
        self._progress.stop()


class _Measures(ProgressColumn):
    """A column with bytes, speed and time left of actions that read bytes, and the elapsed time of all others."""

    max_refresh = None

    def render(self, task: Task) -> Text:
        """The cell for one task."""
        if task.total is None:
            return Text(format_seconds(task.elapsed or 0.0), style="dim")
        told = f"{format_bytes(task.completed)} of {format_bytes(task.total)}"
        if task.speed:
            told += f"  {format_bytes(task.speed)}/s"
        if task.time_remaining:
            told += f"  {format_seconds(task.time_remaining)} left"
        return Text(told, style="dim")
