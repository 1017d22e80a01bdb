"""`mlxbuild completion`: prints the script by which a shell completes command lines. `completing` answers it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from mlxbuild.cli.command import Command
from mlxbuild.cli.completing import VARIABLE
from mlxbuild.cli.output import say

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Shell(StrEnum):
    """The shells that are supported."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_FIRST_TIME = """
if [ "$funcstack[1]" = _mlxbuild ]; then
  _mlxbuild_completion
fi"""
"""zsh reads a script on its path of functions when it completes the first time, so it has to complete then, too."""


@app.command(
    cls=Command,
    epilog="mlxbuild completion bash\n"
    "source <(mlxbuild completion zsh)\n"
    "mlxbuild completion fish > ~/.config/fish/completions/mlxbuild.fish",
)
def print_script(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script that completes commands, options, artifacts and recipes in a shell.

    bash: `source <(mlxbuild completion bash)` in ~/.bashrc. zsh: the same with zsh in ~/.zshrc after `compinit`, or the
    script as `_mlxbuild` in a folder of `fpath`. fish: the script as `~/.config/fish/completions/mlxbuild.fish`.
    """

    say(get_completion_script(prog_name="mlxbuild", complete_var=VARIABLE, shell=shell))
    if shell is Shell.ZSH:
        say(_FIRST_TIME)
