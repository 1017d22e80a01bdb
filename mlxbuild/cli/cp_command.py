"""`mlxbuild cp`: gives an artifact another name."""

from __future__ import annotations

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.artifact.versions import set_tags
from mlxbuild.registry.core.reference import Reference

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild cp hello:int4 hello:stable")
def copy(
    source: str = typer.Argument(help="Name or digest of an artifact."),
    target: str = typer.Argument(help="The new name, which moves if it exists."),
) -> None:
    """Give an artifact another name. No bytes are copied."""
    name = Reference.parse(target)
    with open_store() as store:
        _, digest = find(store, source)
        set_tags(store, {name.store_name: digest}, lambda move: tell(f"warning: {move}"))
        say(f"{name.store_name} {digest}")
