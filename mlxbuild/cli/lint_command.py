"""`mlxbuild lint`: every mistake of a recipe at once."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.output import say
from mlxbuild.cli.recipes import RecipeArguments, recipe_paths
from registry.errors import UserError
from toolchain.spec.lint import lint
from toolchain.spec.report import render

app = typer.Typer()


@app.command()
def lint_recipes(
    recipes: RecipeArguments = None,
    form: Annotated[str, typer.Option("--format", help="text, json or github.")] = "text",
) -> None:
    """Report every mistake with file, line, column and a hint. Exits with 2 if there is one."""
    if form not in ("text", "json", "github"):
        raise UserError(f"there is no format `{form}`", hint="formats are text, json and github")
    paths = recipe_paths(recipes)
    problems = [problem for path in paths for problem in lint(path)]
    if problems or form == "json":
        say(render(problems, form))
    else:
        say(f"{len(paths)} recipe{'s are' if len(paths) > 1 else ' is'} fine")
    if problems:
        raise typer.Exit(2)
