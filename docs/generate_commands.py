"""Writes docs/commands.md from the command line's own help. Run: `python docs/generate_commands.py`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mlxbuild.cli.program import COMMANDS, app

PAGE = Path(__file__).with_name("commands.md")
_TOP = """\
# Commands

Generated from `mlxbuild --help`; `python docs/generate_commands.py` updates it.

Data goes to stdout, everything else to stderr. For the form of names, see **reference** in [the glossary](glossary.md);
for exit codes, see [errors](errors.md).
"""


def page() -> str:
    """The whole page."""
    whole = typer.main.get_command(app)
    parts = [_TOP, "## Options of all commands", _text("mlxbuild [OPTIONS] COMMAND [ARGS]..."), _parameters(whole)]
    for name in COMMANDS:
        command: Any = typer.main.get_command(importlib.import_module(f"mlxbuild.cli.{name}_command").app)
        parts += _section(f"mlxbuild {name}", command)
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _section(name: str, command: Any) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if below:
        for word, inner in below.items():
            yield from _section(f"{name} {word}", inner)
        return
    yield f"## {name.removeprefix('mlxbuild ')}"
    yield _text(" ".join((name, *command.collect_usage_pieces(_context(command)))))
    yield " ".join((command.help or "").split())
    yield _parameters(command)
    yield f"Examples:\n\n{_text(command.epilog)}" if command.epilog else ""


def _text(lines: str) -> str:
    return f"```text\n{lines}\n```"


def _parameters(command: Any) -> str:
    """The arguments, then the options, in the words of `--help`."""
    context = _context(command)
    records = (it.get_help_record(context) for it in sorted(command.params, key=lambda it: not _is_argument(it)))
    rows = [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in filter(None, records)]
    return "\n".join(("| | |", "| --- | --- |", *rows)) if rows else ""


def _context(command: Any) -> Any:
    return command.make_context(command.name, [], resilient_parsing=True)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
