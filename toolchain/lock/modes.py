"""The ways in which a command comes by its lock. What is in a lock, and when it is stale, is decided elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from registry.store.layout import Store
from toolchain.lock.errors import DamagedLock, LockMissing
from toolchain.lock.file import lock_path, read, write
from toolchain.lock.judge import Staleness, require_current, staleness
from toolchain.lock.make import make_lock
from toolchain.lock.model import Lock
from toolchain.sources.file_index import FileIndex
from toolchain.sources.hub import Hub
from toolchain.spec.load import Recipe


class LockMode(StrEnum):
    """What a command does about a lock that is missing or stale."""

    UPDATE = "update"
    """Lock again, keeping what can be kept."""
    LOCKED = "locked"
    """Fail."""
    FROZEN = "frozen"
    """Take it as it is, without a look at the recipe; fail if it is missing."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The lock to build from."""

    lock: Lock
    previous: Lock | None
    """The readable one that lay there before."""
    reasons: tuple[Staleness, ...]
    """Why the previous one was stale."""
    written: bool
    """Whether the file changed."""


def settle(recipe: Recipe, store: Store, mode: LockMode, *, hub: Hub | None = None) -> Settled:
    """The lock that a build of a recipe is to use.

    Raises:
        StaleLock: the mode is `locked` and the lock is stale.
        LockMissing: there is none, and the mode makes none.
        DamagedLock: there is one, and it is not as it was generated, in any mode: `relock` replaces it.
        MlxbuildError: as `make_lock` and `write`.
    """
    path = lock_path(recipe.path)
    if mode is LockMode.UPDATE:
        try:
            previous = read(path)
        except LockMissing:
            return _written(path, make_lock(recipe, store, hub=hub), None, ())
    else:
        previous = read(path)
    if mode is LockMode.FROZEN:
        return Settled(previous, previous, (), written=False)
    reasons = staleness(recipe, previous, FileIndex(store.home))
    if mode is LockMode.LOCKED:
        require_current(reasons, str(path))
    if not reasons:
        return Settled(previous, previous, (), written=False)
    return _written(path, make_lock(recipe, store, previous, hub=hub), previous, reasons)


def relock(recipe: Recipe, store: Store, *, upgrade: bool | Collection[str] = False, hub: Hub | None = None) -> Settled:
    """Lock whatever lies there: what a damaged lock pinned is not kept.

    Raises:
        MlxbuildError: as `make_lock` and `write`.
    """
    path = lock_path(recipe.path)
    try:
        previous = read(path)
    except (LockMissing, DamagedLock):
        return _written(path, make_lock(recipe, store, hub=hub), None, ())
    reasons = staleness(recipe, previous, FileIndex(store.home))
    return _written(path, make_lock(recipe, store, previous, upgrade=upgrade, hub=hub), previous, reasons)


def _written(path: Path, lock: Lock, previous: Lock | None, reasons: tuple[Staleness, ...]) -> Settled:
    return Settled(lock, previous, reasons, written=write(path, lock))
