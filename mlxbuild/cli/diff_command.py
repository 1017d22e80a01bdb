"""`mlxbuild diff`: shows the differences between two artifacts."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.locate import find_anywhere
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import open_store
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.difference.artifacts import difference
from mlxbuild.toolchain.difference.report import lines, to_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    cls=Command, epilog=("mlxbuild diff hello:int4 hello:int8\nmlxbuild diff hello:int4 hello.tar --no-values")
)
def diff(
    before: Annotated[
        str,
        typer.Argument(
            help="Name or digest of an artifact, or the path of an OCI layout or archive of one.", metavar="A"
        ),
    ],
    after: Annotated[str, typer.Argument(help="Another artifact, in one of these forms.", metavar="B")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor, not only every block.")] = False,
    values: Annotated[bool, typer.Option("--values/--no-values", help="Compute the differences of tensors.")] = True,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask a registry for a missing one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare recipe, lock, template, defaults, facts, tokenizer, tensors and sizes of two artifacts.

    The exit code is 0 if they are the same and 1 if they differ. Files that both contain are not read. An artifact that
    is not in the store is fetched from the registry in its name, and not kept.
    """
    with ExitStack() as stack:
        store = stack.enter_context(open_store())
        places = [stack.enter_context(find_anywhere(store, name, offline=offline)) for name in (before, after)]
        one, other = (Artifact.open(*place) for place in places)
        found = difference(one, other, values=values)
        if as_json:
            say_json(to_json(found))
        else:
            for line in lines(found, every_tensor=tensors):
                say(line)
    if not found.equal:
        raise typer.Exit(1)
