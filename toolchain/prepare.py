"""From recipes on disk to locked variants, ready to be planned or built. What may happen to locks is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from registry.errors import UserError
from registry.store.layout import Store
from toolchain.graph.compile import LockedVariant
from toolchain.lock.errors import LockMissing, StaleLock
from toolchain.lock.file import read, write
from toolchain.lock.judge import staleness
from toolchain.lock.make import make_lock
from toolchain.lock.model import Lock, LockedSource
from toolchain.sources.catalogue import SourceCatalogue
from toolchain.spec.recipe import Recipe, load, sources_of
from toolchain.spec.resolved import Source

LOCK_NAME = "ModelSpec.lock"
RECIPE_NAME = "ModelSpec.yaml"


class LockMode(StrEnum):
    """What may happen to a lock that is missing or stale."""

    UPDATE = "update"
    """It is made or renewed, and written."""
    LOCKED = "locked"
    """It is an error."""
    FROZEN = "frozen"
    """It is used as it is; only a missing one is an error."""
    DRAFT = "draft"
    """It is made or renewed in memory: for plans, which write nothing."""


class UnknownVariant(UserError):
    """A recipe has no variant of that name."""

    code = "unknown-variant"


@dataclass(frozen=True, slots=True)
class LockedRecipe:
    """A recipe with its lock."""

    recipe: Recipe
    lock: Lock
    catalogue: SourceCatalogue

    def variants(self, only: Iterable[str] = ()) -> tuple[LockedVariant, ...]:
        """The variants with their pinned sources; `only` names those that are wanted.

        Raises:
            UnknownVariant: the recipe has no variant of a name in `only`.
        """
        roles = {source: role for role, source in sources_of(self.recipe).items()}
        pinned = {source.role: source for source in self.lock.sources}
        specs = self.recipe.variants()
        wanted = tuple(only) or tuple(spec.variant for spec in specs)
        unknown = set(wanted) - {spec.variant for spec in specs}
        if unknown:
            raise UnknownVariant(
                f"there is no variant `{min(unknown)}`",
                where=str(self.recipe.path),
                hint=f"the recipe has {', '.join(spec.variant for spec in specs)}",
            )

        def pin(source: Source) -> LockedSource:
            return pinned[roles[source]]

        return tuple(
            LockedVariant(
                spec=spec,
                base=pin(spec.base),
                tokenizer=pin(spec.tokenizer or spec.base),
                adapters=tuple(pin(adapter.source) for adapter in spec.adapters),
                catalogue=self.catalogue,
                is_default=position == 0,
            )
            for position, spec in enumerate(specs)
            if spec.variant in wanted
        )


def prepare(path: Path, store: Store, mode: LockMode, notice: Callable[[str], None] = lambda _: None) -> LockedRecipe:
    """Read a recipe and its lock.

    Args:
        path: The recipe, or the folder that holds `ModelSpec.yaml`.
        store: Where artifacts that the recipe builds on are looked up.
        mode: What may happen to the lock.
        notice: Told, in a sentence, when a lock is made or renewed and why.

    Raises:
        SpecError: the recipe has mistakes.
        LockMissing, StaleLock: the mode allows no new lock.
    """
    recipe = load(path / RECIPE_NAME if path.is_dir() else path)
    catalogue = SourceCatalogue(recipe.path.parent, store)
    place = recipe.path.with_name(LOCK_NAME)
    lock = read(place) if place.exists() else None
    if lock is None and mode in (LockMode.LOCKED, LockMode.FROZEN):
        raise LockMissing(f"there is no {LOCK_NAME}", where=str(recipe.path), hint="run `mlxbuild lock` and commit it")
    if lock is not None and mode is LockMode.FROZEN:
        return LockedRecipe(recipe, lock, catalogue)
    reasons = ("there was none",) if lock is None else staleness(recipe, lock, store)
    if lock is None or reasons:
        if mode is LockMode.LOCKED:
            raise StaleLock(
                f"the lock is stale: {reasons[0]}", where=str(place), hint="run `mlxbuild lock` and commit it"
            )
        notice(f"{'locking' if lock is None else 'renewing the lock'} ({'; '.join(reasons)})")
        lock = make_lock(recipe, store, lock)
        if mode is LockMode.UPDATE:
            write(place, lock)
    return LockedRecipe(recipe, lock, catalogue)
