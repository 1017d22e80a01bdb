"""Garbage collection of the store: deletes the blobs that nothing refers to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.store import leases
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.layout import BlobMissing, Store
from mlxbuild.registry.store.origins import Origins
from mlxbuild.registry.store.reachability import Reachability
from mlxbuild.registry.store.tags import INDEX_MEDIA_TYPE

GRACE_SECONDS = 3600.0
UNTOUCHED_SECONDS = 7 * 24 * 3600.0
"""How long quarantined blobs, and partial downloads that can be resumed, are kept."""
_MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", INDEX_MEDIA_TYPE)


class DamagedTag(TrustError):
    """A tag names a manifest that is missing or damaged."""

    code = "damaged-tag"


@dataclass(frozen=True, slots=True)
class SoftRoot:
    """A blob that the cache may reuse, and that is kept while there is space."""

    digest: Digest
    last_used: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection removed, or would remove."""

    removed: tuple[Blob, ...]
    kept: tuple[Blob, ...]
    removed_folders: tuple[Path, ...]
    """Model folders whose manifests are gone, and temporary files of killed processes."""
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        """The size of the removed blobs."""
        return sum(blob.size_bytes for blob in self.removed)

    @property
    def kept_bytes(self) -> int:
        """The size of the kept blobs."""
        return sum(blob.size_bytes for blob in self.kept)


def collect(
    store: Store,
    *,
    roots: Iterable[Digest] = (),
    soft_roots: Iterable[SoftRoot] = (),
    budget_bytes: int | None = None,
    grace_seconds: float = GRACE_SECONDS,
    dry_run: bool = False,
    waiting: leases.Waiting | None = None,
) -> Collection:
    """Delete the blobs that nothing needs, while no other command runs.

    It keeps: everything reachable from tags and `roots`; referrers of kept manifests, with everything they reach;
    referrers of deleted manifests that something kept was built from; blobs younger than `grace_seconds`; and soft
    roots, the most recently used first, as long as the whole store stays within `budget_bytes` (None: all of them). A
    crash in the middle leaves a valid store. It works on a full disk.

    Raises:
        DamagedTag: a tagged manifest cannot be read, so what it refers to is unknown; nothing was deleted.
        StoreReadOnly, StoreFailure: something cannot be deleted.
    """
    lease = leases.shared if dry_run else leases.exclusive
    with lease(store.home, waiting):
        reach = Reachability(store)
        blobs = reach.blobs
        _check_tags(store, reach)
        kept = reach.needed([*roots, *_young(store, blobs, grace_seconds)])
        _keep_soft(soft_roots, reach, kept, budget_bytes)
        removed = [blob for digest, blob in blobs.items() if digest not in kept]
        # Manifests first: a crash in the middle must not leave a manifest without its layers.
        removed.sort(key=lambda blob: (blob.digest not in reach.manifests, blob.digest))
        folders = [*_orphans(store, {blob.digest for blob in removed}, blobs), *_leftovers(store, grace_seconds)]
        if not dry_run:
            _delete(store, removed, folders)
            Origins(store.home).retain(kept)
        return Collection(
            tuple(removed),
            tuple(blob for digest, blob in blobs.items() if digest in kept),
            tuple(folders),
            dry_run,
        )


def _young(store: Store, blobs: Iterable[Digest], grace_seconds: float) -> list[Digest]:
    oldest = time.time() - grace_seconds
    young = []
    for digest in blobs:
        with suppress(BlobMissing, FileNotFoundError):
            if grace_seconds > 0 and store.path(digest).stat().st_mtime > oldest:
                young.append(digest)
    return young


def _check_tags(store: Store, reach: Reachability) -> None:
    for name, descriptor in store.tags.items():
        if descriptor.media_type in _MANIFEST_TYPES and descriptor.digest not in reach.manifests:
            raise DamagedTag(
                f"the manifest of `{name}` is missing or damaged, so what it needs is unknown",
                where=str(descriptor.digest),
                hint="build or pull it again, or remove the tag",
            )


def _keep_soft(
    soft_roots: Iterable[SoftRoot], reach: Reachability, kept: set[Digest], budget_bytes: int | None
) -> None:
    used_bytes = reach.size_bytes(kept)
    for root in sorted(soft_roots, key=lambda root: (-root.last_used, root.digest)):
        more = reach.below([root.digest]) - kept
        used_bytes += reach.size_bytes(more)
        if budget_bytes is not None and used_bytes > budget_bytes:
            break  # strictly by last use: no blob is kept in place of one used later
        kept |= more


def _orphans(store: Store, removed: set[Digest], blobs: dict[Digest, Blob]) -> Iterator[Path]:
    """Model folders whose manifest is not in the store, or is about to be removed."""
    for folder in _listed(store.home.models):
        digest = Digest("sha256", folder.name)
        if digest in removed or digest not in blobs:
            yield folder


def _leftovers(store: Store, grace_seconds: float) -> Iterator[Path]:
    """Temporary files of killed processes, unused lock files, and old quarantined blobs and partial downloads."""
    ages = {"tmp": grace_seconds, "work": grace_seconds, "quarantine": UNTOUCHED_SECONDS, "partial": UNTOUCHED_SECONDS}
    for name, seconds in ages.items():
        yield from _older(store.home.cache / name, seconds)
    for kind in ("blobs", "referrers"):
        yield from _older(store.home.cache / "locks" / kind, UNTOUCHED_SECONDS)


def _older(folder: Path, seconds: float) -> Iterator[Path]:
    for path in _listed(folder):
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime <= time.time() - seconds:
                yield path


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _delete(store: Store, blobs: list[Blob], folders: Iterable[Path]) -> None:
    for folder in folders:
        with disk_errors(folder):
            _remove_tree(folder)
    store.tags.forget(blob.digest for blob in blobs)
    for blob in blobs:
        store.remove(blob.digest)
    store.tags.keep_reserve()


def _remove_tree(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108
