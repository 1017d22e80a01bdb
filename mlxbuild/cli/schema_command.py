"""`mlxbuild schema`: the JSON Schema of ModelSpec, for editors."""

from __future__ import annotations

import typer

from mlxbuild.cli.output import say
from mlxbuild.toolchain.spec.schema.generate import text

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def schema() -> None:
    """Print the JSON Schema of ModelSpec v1."""
    say(text().rstrip())
