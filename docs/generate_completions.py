"""Writes the table by which shells complete command lines. Run: `python docs/generate_completions.py`."""

from __future__ import annotations

import importlib
import json
from typing import Any

import typer

from mlxbuild.cli.completing import TABLE
from mlxbuild.cli.program import COMMANDS, app
from mlxbuild.configuration.form import ServeForm

PAGE = TABLE
_ARTIFACTS = {"name", "names", "pattern", "source", "before", "after"}
_OTHER_NAMES = {"keygen", "pull", "copy", "add-key", "remove-key"}
"""The commands whose arguments of those names are not in the store."""


def page() -> str:
    """The whole table."""
    whole = typer.main.get_command(app)
    commands = {}
    for name, told in COMMANDS.items():
        command = typer.main.get_command(importlib.import_module(f"mlxbuild.cli.{name}_command").app)
        commands[name] = _command(name, command) | {"help": told}
    table = {"help": "", "parameters": _parameters("mlxbuild", whole), "commands": commands}
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _command(name: str, command: Any) -> dict[str, Any]:
    told = {"help": command.get_short_help_str(limit=200), "parameters": _parameters(name, command)}
    below = getattr(command, "commands", None)
    return told if below is None else told | {"commands": {word: _command(word, each) for word, each in below.items()}}


def _parameters(command: str, told: Any) -> list[dict[str, Any]]:
    return [_parameter(command, each) for each in told.params if not getattr(each, "hidden", False)]


def _parameter(command: str, parameter: Any) -> dict[str, Any]:
    if parameter.param_type_name == "argument":
        written: dict[str, Any] = {"written": [parameter.name], "nargs": parameter.nargs}
    else:
        *others, last = parameter.opts
        words = [parameter.name, *others, "/".join((last, *parameter.secondary_opts))]
        help_text = " ".join((parameter.help or "").split())
        flag, multiple = bool(parameter.is_flag), parameter.multiple
        written = {"written": words, "flag": flag, "multiple": multiple, "help": help_text}
    values = _values(command, parameter)
    return written if values is None else written | {"values": values}


def _values(command: str, parameter: Any) -> list[str] | str | None:
    """The values themselves, or what they are."""
    if (choices := getattr(parameter.type, "choices", None)) is not None:
        return [str(choice) for choice in choices]
    if parameter.name == "recipes" or ("--file" in parameter.opts and command != "init"):
        return "recipes"
    if parameter.param_type_name != "argument":  # `file|stderr` lists values, and `SCHEMA` in capitals stands for some
        return [word for word in str(parameter.metavar or "").split("|") if word.islower()] or None
    if command in ("get", "set", "unset") and parameter.name == "key":
        return list(ServeForm.model_fields)
    return "artifacts" if parameter.name in _ARTIFACTS and command not in _OTHER_NAMES else None


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
