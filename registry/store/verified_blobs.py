"""Verifies blobs before they are used; a file that has not changed since it was verified is not read again.

The results are kept in `cache/sound.json`: for each blob the inode, size and times of the file that was read. Whoever
can write there can write the blobs too. Corruption below the filesystem is found by `mlxbuild verify`, which reads
everything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.durable import replace_file
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.layout import Store

_SETTLED_NS = 2_000_000_000
"""File times are coarse: a file that was just written could change again without a new time."""
_MOST_BLOBS = 10_000

_Stamp = list[int]


class VerifiedBlobs:
    """The blobs of a store that were verified. Safe for many threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.home.cache / "sound.json"

    def require(self, digests: Iterable[Digest], checkpoint: Callable[[], None] = lambda: None) -> None:
        """Hash the blobs whose files changed since they were last hashed.

        `checkpoint` is called often, and may raise to give up.

        Raises:
            BlobMissing, BlobCorrupt: a blob is missing or damaged.
        """
        known, found = self._known(), {}
        try:
            for digest in dict.fromkeys(digests):
                began_ns = time.time_ns()
                stamp = self._stamp(digest)
                if known.get(digest.hex) != stamp:
                    self._store.verify(digest, lambda size_bytes: checkpoint())
                    if began_ns - stamp[-1] > _SETTLED_NS:
                        found[digest.hex] = stamp
        finally:
            if found:
                self._remember(found)

    def _stamp(self, digest: Digest) -> _Stamp:
        status = self._store.status(digest)
        return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]

    def _known(self) -> dict[str, _Stamp]:
        with suppress(OSError, ValueError, RecursionError):
            known = json.loads(self._path.read_bytes())
            if isinstance(known, dict):
                return known
        return {}

    def _remember(self, found: dict[str, _Stamp]) -> None:
        """Save results; of two processes that save at once, one may lose its results and hash again."""
        merged = {**self._known(), **found}
        kept = {name: stamp for name, stamp in merged.items() if self._store.has(Digest("sha256", name))}
        newest = dict(list(kept.items())[-_MOST_BLOBS:])
        with suppress(StoreFailure):  # the disk may be full or read-only
            replace_file(
                self._path, json.dumps(newest).encode(), temporary_folder=self._store.home.cache / "tmp", durable=False
            )
