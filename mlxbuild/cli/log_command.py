"""`mlxbuild log`: shows earlier runs, and the actions that ran in them."""

from __future__ import annotations

from typing import Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_seconds
from mlxbuild.toolchain.events.journal import read_events, read_report, runs
from mlxbuild.toolchain.events.plain import summary

_INTERRUPTED = 130

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class UnknownRun(UserError):
    """No stored run has that name."""

    code = "unknown-run"


@app.command(cls=Command, epilog=("mlxbuild log\nmlxbuild log last"))
def log(
    run: str = typer.Argument("", help="A run (or `last`) to look into; without it, runs are listed."),
    events: bool = typer.Option(False, "--events", help="Print every event as JSON lines."),
    everything: bool = typer.Option(False, "--all", help="Also list cache hits."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Show earlier runs: what ran, why, and how long it took."""
    folders = runs(chosen_home())
    if not run:
        say_table(
            ("RUN", "EXIT", "WHAT", "COMMAND"),
            [(folder.name, *_line(read_report(folder))) for folder in folders[:30]],
        )
        return
    folder = next((f for f in folders if run == "last" or f.name.startswith(run)), None)
    if folder is None:
        raise UnknownRun(f"there is no run `{run}`", hint="`mlxbuild log` lists the runs that are kept")
    report = read_report(folder)
    if events or report is None:
        seen = list(read_events(folder))
        if as_json:
            say_json(seen)
        for event in () if as_json else seen:
            say(" ".join(f"{key}={value}" for key, value in event.items()))
    elif as_json:
        say_json(report)
    else:
        say(f"{report['run']}  {' '.join(report.get('command', []))}")
        rows = [
            (a["outcome"], a["label"], format_seconds(a["seconds"]), a["reason"])
            for a in report["actions"]
            if everything or a["outcome"] not in ("hit", "present")
        ]
        if rows:
            say_table(("OUTCOME", "ACTION", "TIME", "REASON"), rows)
        say(_summary(report))


def _line(report: dict[str, Any] | None) -> tuple[str, str, str]:
    if report is None:
        return "-", "cut short", ""
    return str(report.get("exit_code", "-")), _summary(report), " ".join(report.get("command", []))


def _summary(report: dict[str, Any]) -> str:
    """The result of a run; an interrupted one has no totals."""
    if "outcomes" not in report or report.get("exit_code") == _INTERRUPTED:
        return f"cut short after {len(report['actions'])} actions"
    return summary(report["seconds"], report["outcomes"])
