"""`mlxbuild lint`: reports every mistake of a recipe at once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.recipes import Portable, RecipeArguments, Recipes, recipe_paths
from mlxbuild.toolchain.early import early_problems
from mlxbuild.toolchain.lock.portable import require_portable
from mlxbuild.toolchain.spec.licenses import license_problems
from mlxbuild.toolchain.spec.load import lint, load
from mlxbuild.toolchain.spec.problems import Problem
from mlxbuild.toolchain.spec.report import render

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class LintFormat(StrEnum):
    """How problems are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


@app.command(cls=Command, epilog=("mlxbuild lint\nmlxbuild lint --portable recipes"))
def lint_recipes(
    recipes: RecipeArguments = None,
    file: Recipes = None,
    form: Annotated[
        LintFormat | None,
        typer.Option("--format", help="How to print them. Default: text; github under GitHub Actions."),
    ] = None,
    portable: Portable = False,
) -> None:
    """Report every mistake with file, line, column and a hint. Exits with 2 if there is one; warnings do not count."""
    form = form or (LintFormat.GITHUB if os.environ.get("GITHUB_ACTIONS") == "true" else LintFormat.TEXT)
    paths = recipe_paths(recipes, file)
    problems = [problem for path in paths for problem in _problems(path, portable=portable)]
    if problems or form is LintFormat.JSON:
        say(render(problems, form.value))
    else:
        say(f"{len(paths)} recipe{'s are' if len(paths) > 1 else ' is'} fine")
    if any(problem.level == "error" for problem in problems):
        raise typer.Exit(2)
    for path in paths if portable else ():
        require_portable(load(path, portable=True))


def _problems(path: Path, *, portable: bool) -> list[Problem]:
    problems = lint(path, portable=portable)
    if any(problem.level == "error" for problem in problems):
        return list(problems)
    recipe = load(path, portable=portable)
    return [*problems, *license_problems(recipe), *early_problems(recipe)]
