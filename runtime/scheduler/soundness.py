"""That a model's files are what their digests say, before it answers. Each is hashed once in a server's life."""

from __future__ import annotations

import os
from collections.abc import Callable

from registry.artifact.reader import Artifact
from registry.digest import Digest
from registry.store.layout import Store

_Stamp = tuple[int, int, int]


class Soundness:
    """Which blobs of a store were found sound, and as which files: one that has changed since is hashed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sound: dict[Digest, _Stamp] = {}

    def require(self, artifact: Digest, checkpoint: Callable[[], None]) -> None:
        """Hash what was not hashed before; `checkpoint` is called often, and may raise to give up. For a thread.

        Raises:
            BlobMissing, BlobCorrupt: a file is not there, or not what it was.
        """
        for file in Artifact.open(self._store, artifact).files:
            digest = file.blob.digest
            stamp = self._stamp(digest)
            if self._sound.get(digest) != stamp:
                self._store.verify(digest, lambda size_bytes: checkpoint())
                self._sound[digest] = stamp

    def _stamp(self, digest: Digest) -> _Stamp:
        found = os.stat(self._store.path(digest))  # noqa: PTH116
        return found.st_ino, found.st_size, found.st_ctime_ns
