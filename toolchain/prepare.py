"""Turns recipes on disk into locked variants that can be planned or built, and applies the rules for updating locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mlxbuild.registry.core.errors import Location, UserError
from mlxbuild.registry.core.suggestions import did_you_mean, few
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import Lock, LockedSource
from mlxbuild.toolchain.core.lock_errors import LockMissing, StaleLock
from mlxbuild.toolchain.events.model import Noted, Notice, Warned
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.lock.file import lock_path, read, write
from mlxbuild.toolchain.lock.identity import identity, locked_identity
from mlxbuild.toolchain.lock.judge import require_current, staleness
from mlxbuild.toolchain.lock.settle import quantization_place, settle
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import ResolvedSpec, Source
from mlxbuild.toolchain.weights.overrides import IdleOverride, idle_overrides


class LockMode(StrEnum):
    """What may happen to a lock that is missing or stale."""

    UPDATE = "update"
    """It is created or updated, and written."""
    LOCKED = "locked"
    """It raises an error."""
    FROZEN = "frozen"
    """It is used as it is; only a missing lock is an error."""
    DRAFT = "draft"
    """It is created or updated in memory only: for plans, which write nothing."""


class UnknownVariant(UserError):
    """A recipe has no variant with that name."""

    code = "unknown-variant"


@dataclass(frozen=True, slots=True)
class LockedRecipe:
    """A recipe with its lock."""

    recipe: Recipe
    lock: Lock
    catalogue: SourceCatalogue

    def variants(self, only: Iterable[str] = ()) -> tuple[LockedVariant, ...]:
        """The variants with their pinned sources; `only` selects variants by name.

        Raises:
            UnknownVariant: the recipe has no variant with a name in `only`.
            StaleLock: a source is not in the lock.
            QuantizedBase: the recipe's quantization does not fit a base.
        """
        pinned = [pin(spec, self.lock.sources, self.catalogue) for spec in self.recipe.variants()]
        variants = [replace(it, spec=settle(it.spec, it.base, self.recipe)) for it in pinned]
        specs = tuple(variant.spec for variant in variants)
        wanted = tuple(only) or tuple(spec.variant for spec in specs)
        unknown = set(wanted) - {spec.variant for spec in specs}
        if unknown:
            names = [spec.variant for spec in specs]
            raise UnknownVariant(
                f"there is no variant `{min(unknown)}`",
                where=str(self.recipe.path),
                hint=did_you_mean(min(unknown), names) or f"the recipe has {few(names)}",
            )

        return tuple(
            replace(variant, is_default=position == 0)
            for position, variant in enumerate(variants)
            if variant.spec.variant in wanted
        )


def pin(
    spec: ResolvedSpec, sources: Sequence[LockedSource], catalogue: SourceCatalogue, *, is_default: bool = True
) -> LockedVariant:
    """A variant with the sources that it names, taken from some locked sources.

    Raises:
        StaleLock: one of them is not among the sources.
    """
    pinned = {locked_identity(source): source for source in sources}

    def find(source: Source) -> LockedSource:
        locked = pinned.get(identity(source))
        if locked is None:
            raise StaleLock(f"the lock does not know {identity(source)}", hint="run `mlxbuild lock`")
        return locked

    return LockedVariant(
        spec=spec,
        base=find(spec.base),
        tokenizer=find(spec.tokenizer or spec.base),
        adapters=tuple(find(adapter.source) for adapter in spec.adapters),
        catalogue=catalogue,
        is_default=is_default,
    )


def _from_here(path: Path) -> str:
    """A path as a person in the current folder would write it, if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _told(lock: str, reasons: Sequence[object], *, writes: bool) -> str:
    """What is said about a lock that is missing, or stale for some reasons."""
    stale = f": {'; '.join(map(str, reasons))}" if reasons else ""
    if writes:
        return f"renewing {lock}{stale}" if reasons else f"writing {lock}"
    state = f"{lock} is stale{stale}" if reasons else f"there is no {lock}"
    return f"{state}; the sources are looked up, and nothing is written"


def prepare(
    recipe: Recipe, store: Store, mode: LockMode, notice: Callable[[Notice], None] = lambda _: None
) -> LockedRecipe:
    """Read the lock of a recipe, or create it.

    Args:
        recipe: The recipe.
        store: Resolves artifacts that the recipe builds on.
        mode: What may happen to the lock.
        notice: Called when a lock is created or updated, with the reason, and with likely mistakes in the recipe.

    Raises:
        LockMissing, StaleLock: the mode does not allow a new lock.
        IdleOverride: an override sets a layer that its base does not have.
    """
    catalogue = SourceCatalogue(recipe.path.parent, store)
    place = lock_path(recipe.path)
    lock = read(place) if place.exists() else None
    if lock is None and mode in (LockMode.LOCKED, LockMode.FROZEN):
        raise LockMissing("there is no lock", where=_from_here(place), hint="run `mlxbuild lock` and commit it")
    if lock is not None and mode is LockMode.FROZEN:
        return _noted(LockedRecipe(recipe, lock, catalogue), notice)
    reasons = () if lock is None else staleness(recipe, lock, FileIndex(store.home))
    if lock is None or reasons:
        if mode is LockMode.LOCKED:
            require_current(reasons, _from_here(place))
        notice(Noted(_told(_from_here(place), reasons, writes=mode is LockMode.UPDATE)))
        from mlxbuild.toolchain.lock.make import make_lock

        lock = make_lock(recipe, store, lock, notice=lambda told: notice(Noted(told)))
        if mode is LockMode.UPDATE:
            write(place, lock)
    return _noted(LockedRecipe(recipe, lock, catalogue), notice)


def _noted(locked: LockedRecipe, notice: Callable[[Notice], None]) -> LockedRecipe:
    """Report likely mistakes in a recipe that can be seen once the tensors of its bases are known.

    Raises:
        IdleOverride: an override sets a layer that its base does not have.
    """
    bases = {locked_identity(source): source for source in locked.lock.sources}
    notes: dict[str, None] = {}
    for spec in locked.recipe.variants():
        if not spec.quantization.overrides or (base := bases.get(identity(spec.base))) is None:
            continue
        for idle in idle_overrides(spec, base):
            if idle.is_certain:
                place = quantization_place(spec, locked.recipe)
                if isinstance(place, Location):
                    place = replace(place, file=_from_here(Path(place.file)))
                raise IdleOverride(idle.message, where=place, hint=idle.hint)
            notes[f"{idle.message}; {idle.hint}"] = None
    for note in notes:
        notice(Warned(note))
    return locked
