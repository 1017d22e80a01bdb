"""`mlxbuild lock`: pin every source of recipes by digest."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.output import say
from mlxbuild.cli.recipes import RecipeArguments, recipe_paths
from mlxbuild.cli.workspace import open_store
from registry.quantities import format_bytes
from toolchain.lock.errors import LockMissing, StaleLock
from toolchain.lock.file import read, write
from toolchain.lock.judge import staleness
from toolchain.lock.make import make_lock
from toolchain.lock.model import Lock
from toolchain.prepare import LOCK_NAME
from toolchain.spec.recipe import load

app = typer.Typer()


@app.command()
def lock(
    recipes: RecipeArguments = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell whether locks are fresh; exit 7 if not.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Also move sources whose branch or tag moved.")] = False,
) -> None:
    """Write ModelSpec.lock beside each recipe: commits, files, sha256, tensor tables."""
    with open_store() as store:
        for path in recipe_paths(recipes):
            recipe = load(path)
            place = path.with_name(LOCK_NAME)
            previous = read(place) if place.exists() else None
            if check:
                _check(previous, () if previous is None else staleness(recipe, previous, store), str(place))
                say(f"{place}: fresh")
                continue
            made = make_lock(recipe, store, previous, upgrade=upgrade)
            if made == previous:
                say(f"{place}: unchanged")
            else:
                write(place, made)
                say(f"{place}: {_summary(made)}")


def _check(lock: Lock | None, reasons: tuple[str, ...], place: str) -> None:
    hint = "run `mlxbuild lock` and commit it"
    if lock is None:
        raise LockMissing(f"there is no {LOCK_NAME}", where=place, hint=hint)
    if reasons:
        raise StaleLock(f"the lock is stale: {'; '.join(reasons)}", where=place, hint=hint)


def _summary(lock: Lock) -> str:
    size_bytes = sum(file.blob.size_bytes for source in lock.sources for file in source.files)
    files = sum(len(source.files) for source in lock.sources)
    tensors = sum(len(source.tensors) for source in lock.sources)
    return f"{len(lock.sources)} sources, {files} files, {tensors} tensors, {format_bytes(size_bytes)}"
