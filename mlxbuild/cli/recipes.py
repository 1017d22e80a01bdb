"""Options that several commands share for naming recipes, and the way from them to locked variants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.events.model import Notice, Warned
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.lock.portable import require_portable
from mlxbuild.toolchain.prepare import RECIPE_NAME, LockMode, prepare
from mlxbuild.toolchain.spec.memory import load_remembered
from mlxbuild.toolchain.spec.recipe import Recipe

Recipes = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", help="A recipe, or its folder; may be given often. Default: ./ModelSpec.yaml"),
]
Variants = Annotated[list[str] | None, typer.Option("--variant", help="Only this variant; may be given often.")]
Locked = Annotated[bool, typer.Option("--locked", help="Fail if the lock is missing or stale.")]
Frozen = Annotated[bool, typer.Option("--frozen", help="Use the lock as it is, and look at nothing else.")]
Portable = Annotated[
    bool, typer.Option("--portable", help="Refuse a base that lies outside the recipe's folder or repository.")
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="Where all files lie that recipes name. Default: the git repository around a recipe, or its folder",
    ),
]
RecipeArguments = Annotated[
    list[Path] | None, typer.Argument(help="Recipes or their folders. Default: ./ModelSpec.yaml")
]


class RecipeMissing(UserError):
    """A recipe that is named is not there."""

    code = "recipe-missing"


def tell_notice(notice: Notice) -> None:
    """Write to stderr what happens before a build."""
    tell(f"warning: {notice.message}" if isinstance(notice, Warned) else notice.message)


def recipe_paths(named: Sequence[Path] | None, *, by: str = "with `-f`") -> tuple[Path, ...]:
    """The recipe files that are meant, each once; `by` tells how the command has them named.

    Raises:
        RecipeMissing: one of them does not exist.
    """
    paths = [path / RECIPE_NAME if path.is_dir() else path for path in named or (Path(RECIPE_NAME),)]
    for path in paths:
        if not path.is_file():
            raise RecipeMissing(
                f"there is no recipe `{path}`",
                hint=f"name one {by}, or write a first one with `mlxbuild init FOLDER > ModelSpec.yaml`",
            )
    return tuple(dict.fromkeys(paths))


class RecipeOutside(UserError):
    """A recipe lies outside of the folder that should hold it."""

    code = "recipe-outside"


def load_recipe(path: Path, store: Store, *, portable: bool, root: Path | None = None) -> Recipe:
    """Read one recipe; a portable one must work on every machine.

    Raises:
        SpecError: it holds mistakes, or its base is elsewhere though it has to be portable.
        UnsafePath: its base has links to elsewhere, though it has to be portable.
        RecipeOutside: it does not lie below the root.
    """
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise RecipeOutside(f"`{path}` lies outside of {root}", hint="name a folder around it with `--root`")
    recipe = load_remembered(path, store.home, portable=portable, within=root)
    if portable:
        require_portable(recipe)
    return recipe


def lock_mode(*, locked: bool, frozen: bool) -> LockMode:
    """The mode that the options ask for; in CI a lock is never changed behind anybody's back."""
    if frozen:
        return LockMode.FROZEN
    return LockMode.LOCKED if locked or os.environ.get("CI") else LockMode.UPDATE


def locked_variants(
    named: Sequence[Path] | None,
    only: Sequence[str] | None,
    store: Store,
    mode: LockMode,
    *,
    portable: bool = False,
    root: Path | None = None,
    notice: Callable[[Notice], None] = tell_notice,
) -> tuple[LockedVariant, ...]:
    """All variants that the options name, of one recipe or of many.

    Raises:
        SpecError, StaleLock, LockMissing, UnknownVariant: see `prepare`.
        UnsafePath: a recipe that has to be portable has a base with links to elsewhere.
        RecipeOutside: one does not lie below the root.
    """
    loaded = tuple(load_recipe(path, store, portable=portable, root=root) for path in recipe_paths(named))
    if len(loaded) > 1:
        from mlxbuild.toolchain.spec.load import check_cycles

        check_cycles(loaded)
    recipes = [prepare(recipe, store, mode, notice=notice) for recipe in loaded]
    return tuple(variant for locked in recipes for variant in locked.variants(only or ()))
