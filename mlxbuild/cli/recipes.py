"""The options of several commands that select recipes, and how they are resolved to locked variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.workspace import tell
from mlxbuild.configuration.ci import in_ci
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock_errors import LockProblem, require_usable
from mlxbuild.toolchain.events.model import Notice, Warned
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.interchange.errors import NotImportable
from mlxbuild.toolchain.interchange.recognition import ImportFormat, recognise
from mlxbuild.toolchain.lock.portable import require_portable
from mlxbuild.toolchain.prepare import LockMode, prepare
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME, recipes_of
from mlxbuild.toolchain.spec.memory import load_remembered
from mlxbuild.toolchain.spec.recipe import Recipe

Recipes = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", help="A recipe or a folder, like RECIPES; may be repeated."),
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
    list[Path] | None,
    typer.Argument(
        metavar="[RECIPES]...",
        help="Recipes, or folders: a folder's own recipe, or all recipes below it. Default: ./ModelSpec.yaml",
        show_default=False,
    ),
]


_FIRST_RECIPE = "name a recipe or its folder, or write a first one with `mlxbuild init MODEL`"


class RecipeMissing(UserError):
    """A recipe file does not exist, or a folder holds none."""

    code = "recipe-missing"


def tell_notice(notice: Notice) -> None:
    """Print a notice about what happens before a build on stderr."""
    tell(f"warning: {notice.message}" if isinstance(notice, Warned) else notice.message)


class NotARecipe(UserError):
    """A file that was given as a recipe belongs to another tool."""

    code = "not-a-recipe"


def recipe_paths(*named: Sequence[Path] | None) -> tuple[Path, ...]:
    """The selected recipe files, each once: files, folders' own recipes, or all recipes below a folder.

    Raises:
        RecipeMissing: a file does not exist, or a folder has no recipes.
        NotARecipe: a file is a Modelfile or a Kitfile.
    """
    chosen = [path for paths in named for path in paths or ()] or [Path(RECIPE_NAME)]
    return tuple(dict.fromkeys(recipe for path in chosen for recipe in _recipes_at(path)))


def _recipes_at(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        if found := recipes_of(path):
            return found
        hint = _ways_to_build(path) or _FIRST_RECIPE
        raise RecipeMissing(f"there is no recipe in `{path}` or below it", hint=hint)
    if not path.is_file():
        is_name = len(path.parts) == 1 and not path.suffix and Path("Modelfile").is_file()
        hint = f"did you mean `mlxbuild create {path} -f Modelfile`?" if is_name else _FIRST_RECIPE
        raise RecipeMissing(f"there is no recipe `{path}`", hint=hint)
    if (form := foreign_format(path)) is ImportFormat.MODELFILE:
        raise NotARecipe(
            f"`{path}` is a Modelfile of Ollama, not a recipe",
            hint=f"`mlxbuild create NAME -f {path}` builds it; `mlxbuild import {path}` prints a recipe",
        )
    if form is not None:
        hint = _ways_to_build(path) or f"`mlxbuild import {path}` prints a recipe"
        raise NotARecipe(f"`{path}` is a {form}, not a recipe", hint=hint)
    return (path,)


def _ways_to_build(path: Path) -> str | None:
    """How to build from a GGUF file or a model folder; None for anything else."""
    from mlxbuild.cli.buildable_paths import described

    found = described(path)
    if found is None or " -f " not in found[1]:
        return None
    return f"{found[1]} it; `mlxbuild import {path}` prints a recipe"


def foreign_format(path: Path) -> ImportFormat | None:
    """The format of a file that belongs to another tool; None for files that are named as YAML."""
    if path.suffix in (".yaml", ".yml") or not path.is_file():
        return None
    try:
        return recognise(path)[0]
    except NotImportable:
        return None


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
    return LockMode.LOCKED if locked or in_ci() else LockMode.UPDATE


def locked_variants(
    paths: Sequence[Path],
    only: Sequence[str] | None,
    store: Store,
    mode: LockMode,
    *,
    portable: bool = False,
    root: Path | None = None,
    notice: Callable[[Notice], None] = tell_notice,
) -> tuple[LockedVariant, ...]:
    """The variants of recipes, or those of them that `only` names.

    Raises:
        SpecError, StaleLock, LockMissing, UnknownVariant: see `prepare`.
        UnusableLocks: several locks are missing, stale or damaged.
        UnsafePath: a recipe has to be portable, and its base has links to files elsewhere.
        RecipeOutside: a recipe is not below the root.
    """
    loaded = tuple(load_recipe(path, store, portable=portable, root=root) for path in paths)
    if len(loaded) > 1:
        from mlxbuild.toolchain.spec.load import check_cycles

        check_cycles(loaded)
    recipes, problems = [], []
    for recipe in loaded:
        try:
            recipes.append(prepare(recipe, store, mode, notice=notice))
        except LockProblem as problem:
            problems.append(problem)
    require_usable(problems)
    return tuple(variant for locked in recipes for variant in locked.variants(only or ()))
