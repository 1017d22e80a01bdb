"""`mlxbuild embed`: computes the embeddings of texts."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.conversation import open_model
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.question import Embedded, KeepAlive
from mlxbuild.registry.core.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NoTexts(UserError):
    """There is no text to embed, and stdin is a terminal."""

    code = "no-texts"


@app.command(cls=Command, epilog=('mlxbuild embed minilm "a text" "another text"\nmlxbuild embed minilm < lines.txt'))
def embed(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    texts: Annotated[list[str] | None, typer.Argument(help="The texts. Default: the lines of stdin.")] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Keep only the first numbers of each vector, normalized again.")
    ] = None,
    keepalive: KeepAlive = None,
    embedded: Embedded = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the vectors and counts.")] = False,
) -> None:
    """Print one vector for each text, as a JSON array on a line of its own.

    A running server answers, if it has the same model; otherwise the model is loaded in this process.
    """
    if not texts and sys.stdin.isatty():
        hint = "write texts after the name, or send lines: `mlxbuild embed NAME < FILE`"
        raise NoTexts("there is no text", hint=hint)
    asked = texts or sys.stdin.read().splitlines()
    with open_model(name, embedded=embedded, keep_alive=keepalive) as model:
        embeddings = model.embed(asked, dimensions=dimensions)
    if as_json:
        vectors = [list(vector) for vector in embeddings.vectors]
        say_json({"model": name, "embeddings": vectors, "prompt_tokens": embeddings.prompt_tokens})
        return
    for vector in embeddings.vectors:
        say(json.dumps(list(vector)))
