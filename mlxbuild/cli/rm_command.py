"""`mlxbuild rm`: removes names; their blobs stay until `gc`."""

from __future__ import annotations

import typer

from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def remove(
    names: list[str] = typer.Argument(help="Names of artifacts."),
    every_name: bool = typer.Option(False, "--all-names", help="Also remove the other names of the artifact."),
) -> None:
    """Remove names. `mlxbuild gc` then frees what nothing else needs."""
    with open_store() as store:
        for name in names:
            reference, digest = find(store, name)
            doomed = {reference.store_name} if reference.digest is None else set()
            if every_name or reference.digest is not None:
                doomed |= {tag for tag, descriptor in store.tags.items() if descriptor.digest == digest}
            for tag in sorted(doomed):
                store.tags.remove(tag)
                say(f"removed {tag}")
