"""A partial download of a blob, kept in a file between attempts and runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.remote.errors import TransferCorrupt
from mlxbuild.registry.store.durable import disk_errors, write_all

PIECE_BYTES = 256 * 1024


class Partial:
    """The first bytes of a blob. Use it from one thread, under a lock, in a `with` statement.

    On entering, the bytes already in the file are hashed again. The file is kept on leaving.
    """

    def __init__(self, path: Path, blob: Blob, progress: Callable[[int], None] | None) -> None:
        self.path = path
        self.blob = blob
        self.size_bytes = 0
        self.received_bytes = 0
        """The number of bytes appended, including discarded ones."""
        self.inherited = False
        """Whether some bytes are from an earlier run."""
        self._progress = progress
        self._hasher = hashlib.sha256()
        self._descriptor = -1

    def __enter__(self) -> Self:
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(self._descriptor).st_size > self.blob.size_bytes:
                    os.ftruncate(self._descriptor, 0)
                while piece := os.read(self._descriptor, PIECE_BYTES):
                    self._hasher.update(piece)
                    self._advance(len(piece))
            except BaseException:
                os.close(self._descriptor)
                raise
        self.inherited = self.size_bytes > 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def missing_bytes(self) -> int:
        """The number of bytes still missing."""
        return self.blob.size_bytes - self.size_bytes

    def append(self, piece: bytes) -> None:
        """Append the next bytes.

        Raises:
            TransferCorrupt: the blob would have more bytes than it should.
            DiskFull, StoreFailure: what was there before stays.
        """
        if len(piece) > self.missing_bytes:
            raise TransferCorrupt(f"more than the {self.blob.size_bytes} bytes of {self.blob.digest} came")
        with disk_errors(self.path):
            write_all(self._descriptor, memoryview(piece))
        self._hasher.update(piece)
        self.received_bytes += len(piece)
        self._advance(len(piece))

    def restart(self) -> None:
        """Discard all bytes."""
        with disk_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hasher = hashlib.sha256()
        self.inherited = False
        self._advance(-self.size_bytes)

    def check(self) -> None:
        """Check that the bytes are complete and correct, and sync them to the disk.

        Raises:
            TransferCorrupt: they have another digest.
        """
        if self._hasher.hexdigest() != self.blob.digest.hex:
            raise TransferCorrupt(f"the bytes received for {self.blob.digest} have another digest")
        with disk_errors(self.path):
            os.fsync(self._descriptor)

    def _advance(self, count: int) -> None:
        self.size_bytes += count
        if self._progress is not None and count:
            self._progress(count)
