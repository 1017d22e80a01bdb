"""`mlxbuild graph`: prints the build graph as Mermaid, DOT or JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.choices import UnknownChoice
from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.recipes import RecipeArguments, Recipes, Variants, locked_variants, recipe_paths
from mlxbuild.cli.workspace import open_store
from mlxbuild.toolchain.graph.compile import compile_graph
from mlxbuild.toolchain.graph.draw import to_dot, to_json, to_mermaid
from mlxbuild.toolchain.prepare import LockMode

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild graph --format dot | dot -Tsvg > graph.svg")
def graph(
    recipes: RecipeArguments = None,
    file: Recipes = None,
    variant: Variants = None,
    form: Annotated[str, typer.Option("--format", metavar="mermaid|dot|json", help="How to print it.")] = "mermaid",
    fold: Annotated[bool, typer.Option(help="Draw the blocks of a variant as one.")] = True,
) -> None:
    """Print the graph of the actions of a build and their dependencies."""
    with open_store() as store:
        whole, _ = compile_graph(locked_variants(recipe_paths(recipes, file), variant, store, LockMode.DRAFT))
    match form:
        case "mermaid":
            say(to_mermaid(whole, fold=fold))
        case "dot":
            say(to_dot(whole, fold=fold))
        case "json":
            say_json(to_json(whole))
        case _:
            raise UnknownChoice(f"there is no format `{form}`", hint="formats are mermaid, dot and json")
