"""`mlxbuild cp`: gives an artifact another name."""

from __future__ import annotations

import typer

from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.versions import moves
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.reference import Reference

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def copy(
    source: str = typer.Argument(help="Name or digest of an artifact."),
    target: str = typer.Argument(help="The new name, which moves if it exists."),
) -> None:
    """Give an artifact another name. No bytes are copied."""
    name = Reference.parse(target)
    with open_store() as store:
        _, digest = find(store, source)
        for move in moves(store, {name.store_name: digest}):
            tell(f"warning: {move}")
        store.tags.set({name.store_name: tag_descriptor(Blob(digest, store.size(digest)))})
        say(f"{name.store_name} {digest}")
