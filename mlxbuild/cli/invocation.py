"""The options that stand before the command: the home to work in, and whether errors say where they came from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.registry.core.home import Home


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command line says before its command."""

    home: str = ""
    verbose: bool = False


_current = [Invocation()]


def begin(invocation: Invocation) -> None:
    """Take the options of the command line that is run from now on."""
    _current[0] = invocation


def chosen_home() -> Home:
    """The home of `--home`, else that of the environment."""
    named = _current[0].home
    return Home(Path(named).expanduser().absolute()) if named else Home.from_environment()


def is_verbose() -> bool:
    """Whether errors say where they came from: with `-v`, or with MLXBUILD_VERBOSE."""
    return _current[0].verbose or bool(os.environ.get("MLXBUILD_VERBOSE"))
