"""Answers shells that complete a command line, from a table of all commands, since importing those takes too long.

`docs/generate_completions.py` writes the table; `completion_command` prints the scripts that ask.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer._click.shell_completion import CompletionItem, add_completion_class, split_arg_string
from typer._completion_classes import BashComplete, completion_init
from typer.completion import shell_complete
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.tags import TagTable

VARIABLE = "_MLXBUILD_COMPLETE"
TABLE = Path(__file__).with_name("completions.json")
_RECIPE, _RECIPE_ENDINGS = "ModelSpec.yaml", (".yaml", ".yml")
_BREAKS = frozenset(":=@")
"""Where bash breaks words, among the characters of names and options."""


def complete(instruction: str) -> int:
    """Print the completions that a shell asks for by its environment, and return the exit code."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # help is plain text, and importing it takes too long
    completion_init()
    add_completion_class(_BashComplete, "bash")
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return shell_complete(_command("mlxbuild", table), {}, "mlxbuild", VARIABLE, instruction)


def _command(name: str, told: dict[str, Any]) -> TyperCommand | TyperGroup:
    parameters: list[Any] = [_parameter(each) for each in told["parameters"]]
    if "commands" not in told:
        return TyperCommand(name, params=parameters, short_help=told["help"])
    commands: dict[str, Any] = {below: _command(below, each) for below, each in told["commands"].items()}
    return TyperGroup(name=name, params=parameters, short_help=told["help"], commands=commands)


def _parameter(told: dict[str, Any]) -> TyperArgument | TyperOption:
    written, values = told["written"], _values(told.get("values"))
    if "nargs" in told:
        return TyperArgument(param_decls=written, nargs=told["nargs"], autocompletion=values)
    return TyperOption(
        param_decls=written,
        is_flag=told["flag"],
        multiple=told["multiple"],
        help=told["help"],
        autocompletion=values,
    )


def _values(told: list[str] | str | None) -> Callable[..., list[str]]:
    """The function that lists the values of a parameter; where there are none, shells complete files."""
    if told == "artifacts":
        return lambda ctx, args, incomplete: _artifacts(ctx.find_root().params.get("home"))
    if told == "recipes":
        return lambda ctx, args, incomplete: _recipes(incomplete)
    return lambda ctx, args, incomplete: list(told or ())


def _artifacts(home: str | None) -> list[str]:
    """The names in the store."""
    try:
        return [name for name, _ in TagTable(Home(Path(home)) if home else Home.from_environment()).items()]
    except MlxbuildError:
        return []  # which other commands tell of


def _recipes(begun: str) -> list[str]:
    """The recipes in the folder of a path, and the recipes of folders there, as paths that begin alike."""
    folder = begun[: begun.rfind("/") + 1]
    try:
        entries = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    files = [f"{folder}{entry.name}" for entry in entries if entry.suffix in _RECIPE_ENDINGS]
    return files + [f"{folder}{entry.name}/{_RECIPE}" for entry in entries if (entry / _RECIPE).is_file()]


class _BashComplete(BashComplete):
    """Bash breaks words at colons, which names have: here they are put together, and completed from the last break."""

    _given = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"])
        place = int(os.environ["COMP_CWORD"])
        words = words[: place + 1] + [""] * (place + 1 - len(words))
        joined = words[:1]
        for before, word in pairwise(words):
            if len(joined) > 1 and (_is_break(word) or _is_break(before)):
                joined[-1] += word
            else:
                joined.append(word)
        *args, incomplete = joined
        given = incomplete if _is_break(words[-1]) else incomplete.removesuffix(words[-1])
        self._given = given.partition("=")[2] if given.startswith("-") else given
        return args[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return str(item.value).removeprefix(self._given)


def _is_break(word: str) -> bool:
    return bool(word) and _BREAKS.issuperset(word)
