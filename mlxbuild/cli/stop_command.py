"""`mlxbuild stop`: unloads models from a server's memory."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild stop hello")
def stop(names: Annotated[list[str], typer.Argument(help="Names of models, as `mlxbuild ps` lists them.")]) -> None:
    """Unload models from the running server's memory, after their current requests."""
    from mlxbuild.serving.client import Server

    server = Server.require(chosen_home())
    for name in names:
        was_loaded = server.stop(name)
        say(f"stopped {name}" if was_loaded else f"{name} was not in memory")
