"""Writes one blob while hashing it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.durable import create_temporary, disk_errors, publish, write_all
from mlxbuild.registry.store.errors import BlobCorrupt

_PIECE_BYTES = 1024 * 1024  # hashed, then written, while it is still in the processor's cache


def holds(location: str, size_bytes: int) -> bool:
    """Whether a regular file of that size exists at a location; another size means a damaged blob."""
    try:
        found = os.stat(location, follow_symlinks=False)  # noqa: PTH116  # runs once per blob: twice as fast
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes


def _digest_of(location: str) -> str:
    with open(location, "rb", buffering=0) as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


class BlobWriter:
    """Writes one blob into a store. Use it from one thread at a time, in a `with` statement.

    Leaving the statement without `commit` removes what was written. Without `syncs_name`, the caller has to sync the
    blob's folder.
    """

    def __init__(
        self, temporary_folder: Path, locate: Callable[[Digest], str], *, durable: bool, syncs_name: bool = True
    ) -> None:
        self._locate = locate
        self._durable = durable
        self._syncs_name = durable and syncs_name
        self._hasher = hashlib.sha256()
        self._size_bytes = 0
        with disk_errors(temporary_folder):
            self._descriptor, self._path = create_temporary(temporary_folder, mode=0o444)
        self._open = True
        self._temporary_exists = True

    def write(self, buffer: bytes | bytearray | memoryview) -> None:
        """Append the bytes of a contiguous buffer of any element type, hashing them on the way.

        Raises:
            DiskFull, StoreFailure: the blob cannot be finished.
        """
        view = memoryview(buffer)
        if not view.nbytes:
            return
        flat = view.cast("B")
        with disk_errors(self._path):
            for start in range(0, flat.nbytes, _PIECE_BYTES):
                piece = flat[start : start + _PIECE_BYTES]
                self._hasher.update(piece)
                write_all(self._descriptor, piece)
        self._size_bytes += flat.nbytes

    @property
    def size_bytes(self) -> int:
        """The number of bytes written so far."""
        return self._size_bytes

    def commit(self, expected: Digest | None = None) -> Blob:
        """Finish the blob and move it into place; if the store holds it already, undamaged, the new copy is dropped.

        Raises:
            BlobCorrupt: the bytes do not have the `expected` digest.
            DiskFull, StoreFailure: the store is unchanged.
        """
        blob = Blob(Digest("sha256", self._hasher.hexdigest()), self._size_bytes)
        if expected is not None and expected != blob.digest:
            raise BlobCorrupt(expected, f"expected {expected}, got {blob.digest}", where=str(self._path))
        final = self._locate(blob.digest)
        with disk_errors(Path(final)):
            if holds(final, blob.size_bytes) and _digest_of(final) == blob.digest.hex:
                self._discard()
                return blob
            if self._durable:
                os.fsync(self._descriptor)
            self._close()
            publish(self._path, Path(final), durable=self._syncs_name)
            self._temporary_exists = False
        return blob

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def _discard(self) -> None:
        self._close()
        if self._temporary_exists:
            self._temporary_exists = False
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the error being raised matters more
            self._discard()
