"""That blobs are what their digests say, before they are used; one that has not changed since is not read again.

What was found is kept in `cache/sound.json`: for each blob the inode, size and times of the file that was read. Whoever
can write there can write the blobs, too. What a disk changes by itself, below its file system, is found by
`mlxbuild verify`, which reads everything.
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
"""Times of files are coarse: one that was just written could be written again within the same tick."""
_MOST_BLOBS = 10_000

_Stamp = list[int]


class Soundness:
    """Which blobs of a store were found sound. For any thread and process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.home.cache / "sound.json"

    def require(self, digests: Iterable[Digest], checkpoint: Callable[[], None] = lambda: None) -> None:
        """Hash what was not hashed since it last changed; `checkpoint` is called often, and may raise to give up.

        Raises:
            BlobMissing, BlobCorrupt: one is not there, or not what it was.
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
        """What two processes find at once, one of them may have to find again."""
        merged = {**self._known(), **found}
        kept = {name: stamp for name, stamp in merged.items() if self._store.has(Digest("sha256", name))}
        newest = dict(list(kept.items())[-_MOST_BLOBS:])
        with suppress(StoreFailure):  # a disk that is full or read-only
            replace_file(
                self._path, json.dumps(newest).encode(), temporary_folder=self._store.home.cache / "tmp", durable=False
            )
