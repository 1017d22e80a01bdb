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

Generated from `mlxbuild --help`; `python docs/generate_commands.py` writes it anew.

Data goes to stdout, everything else to stderr. What a name is, is told by [the glossary](glossary.md) under
**reference**; what an exit code means, by [errors](errors.md).
"""


def page() -> str:
    """The whole page."""
    whole = typer.main.get_command(app)
    parts = [_TOP, "## Options of all commands", _intro(("mlxbuild [OPTIONS] COMMAND [ARGS]...",)), _parameters(whole)]
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
    arguments = [f"[{_name(it)}]" if not it.required else _name(it) for it in command.params if _is_argument(it)]
    several = ["..." if it.nargs == -1 else "" for it in command.params if _is_argument(it)]
    words = " ".join(argument + more for argument, more in zip(arguments, several, strict=True))
    yield f"## {name.removeprefix('mlxbuild ')}"
    yield _intro((f"{name} [OPTIONS] {words}".rstrip(),))
    yield " ".join((command.help or "").split())
    yield _parameters(command)


def _intro(usages: tuple[str, ...]) -> str:
    return "\n".join(("```text", *usages, "```"))


def _parameters(command: Any) -> str:
    shown = [it for it in command.params if not getattr(it, "hidden", False)]
    rows = [f"| {_heading(it)} | {_help(it)} |" for it in sorted(shown, key=lambda it: not _is_argument(it))]
    return "\n".join(("| | |", "| --- | --- |", *rows)) if rows else ""


def _heading(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_name(parameter)}`"
    value = "" if parameter.is_flag else f" {(parameter.metavar or _name(parameter)).upper()}"
    return ", ".join(f"`{option}{value}`" for option in (*parameter.opts, *parameter.secondary_opts))


def _help(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = parameter.default
    told = isinstance(default, str | int | float) and not isinstance(default, bool) and default != ""
    return f"{text} Default: `{default}`." if told else text


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(parameter: Any) -> str:
    return str(parameter.name).removeprefix("as_").replace("_", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
