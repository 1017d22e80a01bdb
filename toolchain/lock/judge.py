"""Checks offline whether a lock still agrees with its recipe."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.core.lock import Lock, LockedSource
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.lock.identity import identity, locked_identity
from mlxbuild.toolchain.sources.errors import FileIndexFailure
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.folder import folder_files
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import FolderSource, Source
from mlxbuild.toolchain.spec.sources import inherits_tokenizer, sources_digest, sources_of


@dataclass(frozen=True, slots=True)
class Staleness:
    """One reason why a lock is stale; `str()` gives a sentence."""

    kind: Literal["missing", "surplus", "renamed", "revision", "include", "files", "spec"]
    role: str | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def staleness(recipe: Recipe, lock: Lock, index: FileIndex) -> tuple[Staleness, ...]:
    """Every reason why the lock is stale; empty if it is current.

    Hub revisions and references that have moved are no reason: they stay pinned until an upgrade.

    Args:
        recipe: The recipe that names the sources.
        lock: The lock to judge.
        index: Saves hashing files of folders that have not changed.

    Raises:
        FileIndexFailure: the index cannot be used.
    """
    sources = sources_of(recipe)
    reasons: list[Staleness] = []
    for role, source in sorted(sources.items()):
        locked = lock.source(role)
        if locked is None:
            reasons.append(Staleness("missing", role, f"the lock has no source `{role}`"))
        elif (renamed := _renamed(role, source, locked)) is not None:
            reasons.append(renamed)
        elif locked.gguf is not None and locked.derives_tokenizer != inherits_tokenizer(recipe, source):
            has = "has a" if locked.derives_tokenizer else "lacks the"
            reasons.append(Staleness("files", role, f"the lock {has} tokenizer that follows from `{role}`"))
        elif isinstance(source, FolderSource):
            reasons += _folder_reasons(role, source, locked, index)
    for locked in lock.sources:
        if locked.role not in sources:
            sentence = f"the lock has a source `{locked.role}` that the recipe does not name"
            reasons.append(Staleness("surplus", locked.role, sentence))
    if not reasons and lock.spec_digest != sources_digest(recipe):
        reasons.append(Staleness("spec", None, "the lock was made for another recipe"))
    return tuple(reasons)


def require_current(reasons: tuple[Staleness, ...], where: str) -> None:
    """Check that there are no reasons why a lock is stale.

    Raises:
        StaleLock: there are; the message lists all of them.
    """
    if reasons:
        raise StaleLock("the lock is stale: " + "; ".join(map(str, reasons)), where=where, hint="run `mlxbuild lock`")


def _renamed(role: str, source: Source, locked: LockedSource) -> Staleness | None:
    now, then = identity(source), locked_identity(locked)
    if now == then:
        return None
    if (now.kind, now.name, now.gguf) != (then.kind, then.name, then.gguf):
        return Staleness("renamed", role, f"`{role}` is {now} in the recipe, and {then} in the lock")
    if now.requested != then.requested:
        sentence = f"`{role}` asks for the revision `{now.requested}`, and the lock pins `{then.requested}`"
        return Staleness("revision", role, sentence)
    return Staleness("include", role, f"`{role}` includes other files of {now} than the lock")


def _folder_reasons(role: str, source: FolderSource, locked: LockedSource, index: FileIndex) -> list[Staleness]:
    pinned = {file.path: file.blob for file in locked.files if not file.derived}
    try:
        found = folder_files(source.path, role=role) if source.gguf is None else _gguf_files(source, source.gguf)
        reasons = [f"`{path}` in `{source.written}` is new" for path in found if path not in pinned]
        reasons += [f"`{path}` in `{source.written}` is gone" for path in pinned if path not in found]
        _hash_unknown([source.path / path for path in found if path in pinned], index)
        reasons += [
            f"`{path}` in `{source.written}` changed"
            for path in found
            if path in pinned and _content(source, path, pinned[path], index) != pinned[path]
        ]
    except FileIndexFailure:
        raise
    except MlxbuildError as error:
        reasons = [f"`{source.written}`: {error.message}"]
    return [Staleness("files", role, reason) for reason in reasons]


def _gguf_files(source: FolderSource, name: str) -> tuple[str, ...]:
    return tuple(path for path in split_paths(name) if (source.path / path).is_file())


def _hash_unknown(places: list[Path], index: FileIndex) -> None:
    """Add files to the index, hashing those that it does not know on all cores."""
    unknown = [place for place in places if index.known(place) is None]
    if len(unknown) > 1:
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            list(threads.map(index.content, unknown))


def _content(source: FolderSource, path: str, pinned: Blob, index: FileIndex) -> Blob | None:
    """The digest of a file; if its size differs from the pinned one, the file is not hashed."""
    place = source.path / path
    return index.content(place) if place.stat().st_size == pinned.size_bytes else None
