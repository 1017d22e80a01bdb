"""`mlxbuild lock`: pins every source of recipes by digest in their lock files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.recipes import Portable, RecipeArguments, Recipes, load_recipe, recipe_paths
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.toolchain.core.lock import Lock
from mlxbuild.toolchain.core.lock_errors import LockMissing, LockProblem, require_usable
from mlxbuild.toolchain.lock.file import lock_path, read, readable, write
from mlxbuild.toolchain.lock.judge import require_current, staleness
from mlxbuild.toolchain.lock.make import changes, make_lock
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.spec.recipe import Recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog=("mlxbuild lock\nmlxbuild lock --check recipes"))
def lock(
    recipes: RecipeArguments = None,
    file: Recipes = None,
    check: Annotated[bool, typer.Option("--check", help="Only check whether locks are fresh; exit 7 if not.")] = False,
    portable: Portable = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Also update sources whose branch or tag moved.")] = False,
) -> None:
    """Write ModelSpec.lock beside each recipe: commits, files, sha256, tensor tables."""
    paths = recipe_paths(recipes, file)
    problems = []
    with open_store() as store:
        for path in paths:
            recipe = load_recipe(path, store, portable=portable)
            place = lock_path(path)
            if check:
                try:
                    _check(read(place) if place.exists() else None, recipe, FileIndex(store.home), place)
                except LockProblem as problem:
                    problems.append(problem)
                continue
            previous = readable(place)
            made = make_lock(recipe, store, previous, upgrade=upgrade, notice=tell)
            if write(place, made):
                say(f"{place}: {_summary(made)}")
                for sentence in changes(previous, made) if previous else ():
                    say(f"  {sentence}")
            elif len(paths) == 1:
                say(f"{place}: unchanged")
    require_usable(problems)
    if len(paths) > 1:
        say(f"{len(paths)} locks are fresh")
    elif check:
        say(f"{lock_path(paths[0])}: fresh")


def _check(lock: Lock | None, recipe: Recipe, index: FileIndex, place: Path) -> None:
    if lock is None:
        raise LockMissing("there is no lock", where=str(place), hint="run `mlxbuild lock` and commit it")
    require_current(staleness(recipe, lock, index), str(place))


def _summary(lock: Lock) -> str:
    size_bytes = sum(file.blob.size_bytes for source in lock.sources for file in source.files)
    files = sum(len(source.files) for source in lock.sources)
    tensors = sum(len(source.tensors) for source in lock.sources)
    counts = ((len(lock.sources), "source"), (files, "file"), (tensors, "tensor"))
    counted = ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)
    return f"{counted}, {format_bytes(size_bytes)}"
