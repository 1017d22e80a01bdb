"""The options of several commands that select recipes, and how they are resolved to locked variants."""

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
    typer.Option("-f", "--file", help="A recipe, or its folder; may be repeated. Default: ./ModelSpec.yaml"),
]
Variants = Annotated[list[str] | None, typer.Option("--variant", help="Only this variant; may be repeated.")]
Locked = Annotated[bool, typer.Option("--locked", help="Fail if the lock is missing or stale.")]
Frozen = Annotated[bool, typer.Option("--frozen", help="Use the lock without checking if it is stale.")]
Portable = Annotated[
    bool, typer.Option("--portable", help="Refuse a base that lies outside the recipe's folder or repository.")
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="The folder that must hold all files of recipes. Default: the git repository of a recipe, or its folder",
    ),
]
RecipeArguments = Annotated[
    list[Path] | None, typer.Argument(help="Recipes or their folders. Default: ./ModelSpec.yaml")
]


class RecipeMissing(UserError):
    """A recipe file does not exist."""

    code = "recipe-missing"


def tell_notice(notice: Notice) -> None:
    """Print a notice about what happens before a build on stderr."""
    tell(f"warning: {notice.message}" if isinstance(notice, Warned) else notice.message)


def recipe_paths(named: Sequence[Path] | None, *, by: str = "with `-f`") -> tuple[Path, ...]:
    """The selected recipe files, each once; `by` says in a hint how the command names them.

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
    """A recipe is outside the folder that should contain it."""

    code = "recipe-outside"


def load_recipe(path: Path, store: Store, *, portable: bool, root: Path | None = None) -> Recipe:
    """Read one recipe; a portable one must work on every machine.

    Raises:
        SpecError: it has mistakes, or it has to be portable and its base is outside its folder.
        UnsafePath: it has to be portable, and its base has links to files elsewhere.
        RecipeOutside: it is not below the root.
    """
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise RecipeOutside(f"`{path}` is outside {root}", hint="name a folder around it with `--root`")
    recipe = load_remembered(path, store.home, portable=portable, within=root)
    if portable:
        require_portable(recipe)
    return recipe


def lock_mode(*, locked: bool, frozen: bool) -> LockMode:
    """The lock mode of the options; in CI a lock file is never changed implicitly."""
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
    """All variants that the options select, of one or several recipes.

    Raises:
        SpecError, StaleLock, LockMissing, UnknownVariant: see `prepare`.
        UnsafePath: a recipe has to be portable, and its base has links to files elsewhere.
        RecipeOutside: a recipe is not below the root.
    """
    loaded = tuple(load_recipe(path, store, portable=portable, root=root) for path in recipe_paths(named))
    if len(loaded) > 1:
        from mlxbuild.toolchain.spec.load import check_cycles

        check_cycles(loaded)
    recipes = [prepare(recipe, store, mode, notice=notice) for recipe in loaded]
    return tuple(variant for locked in recipes for variant in locked.variants(only or ()))
