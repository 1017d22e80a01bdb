"""`mlxbuild schema`: prints the JSON Schema of ModelSpec, for editors, or of build events, for programs."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.toolchain.events import schema as event_schema
from mlxbuild.toolchain.spec.schema import generate as modelspec_schema

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild schema > modelspec.v1.schema.json")
def schema(
    events: Annotated[
        bool, typer.Option("--events", help="Print that of the records of `create --progress json` instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of ModelSpec v1."""
    say((event_schema.text() if events else modelspec_schema.text()).rstrip())
