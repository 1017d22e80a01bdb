"""The streamed bodies of uploads, and their progress."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.remote.errors import TransferCorrupt
from mlxbuild.registry.store.durable import disk_errors

PIECE_BYTES = 256 * 1024


class Sent:
    """The progress of one blob, reported to a callback."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self.offset = 0
        self.total_bytes = 0
        """The number of bytes sent, including those sent again."""

    def advance(self, count: int) -> None:
        """Count bytes that were sent."""
        self.offset += count
        self.total_bytes += count
        self._tell(count)

    def move(self, offset: int) -> None:
        """Continue at `offset`, whatever was sent before."""
        difference, self.offset = offset - self.offset, offset
        self._tell(difference)

    def _tell(self, count: int) -> None:
        if self._progress is not None and count:
            self._progress(count)


class FilePart:
    """The bytes of an open file from `begin` to `end`, as a body for requests, with a length and `read`."""

    def __init__(self, descriptor: int, begin: int, end: int, sent: Sent) -> None:
        self._descriptor = descriptor
        self._position = begin
        self._end = end
        self._length = end - begin
        self._sent = sent
        sent.move(begin)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE_BYTES):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`.

        Raises:
            TransferCorrupt: the file has become shorter meanwhile.
        """
        left = self._end - self._position
        piece = os.pread(self._descriptor, left if size < 0 else min(size, left), self._position)
        if left and size and not piece:  # else the registry would wait for the missing bytes
            raise TransferCorrupt("the file became shorter while it was sent", hint="build or pull its artifact again")
        self._position += len(piece)
        self._sent.advance(len(piece))
        return piece


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file to be sent; yields its descriptor.

    Raises:
        StoreFailure: it cannot be opened.
    """
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Source(Protocol):
    """The body of a response as it arrives (urllib3's response)."""

    def read(self, amt: int, decode_content: bool) -> bytes:
        """The next bytes, unchanged."""


class Relay:
    """Sends the body of a response as that of a request. The last bytes are sent only if all are correct."""

    def __init__(self, source: Source, blob: Blob, sent: Sent) -> None:
        self._source = source
        self._blob = blob
        self._sent = sent
        self._hasher = hashlib.sha256()
        self._passed_bytes = 0
        sent.move(0)

    def __len__(self) -> int:
        return self._blob.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE_BYTES):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`.

        Raises:
            TransferCorrupt: the bytes are not those of the blob.
        """
        left = self._blob.size_bytes - self._passed_bytes
        if not left:
            return b""
        piece = self._source.read(min(left, PIECE_BYTES if size < 0 else size), decode_content=False)
        self._hasher.update(piece)
        self._passed_bytes += len(piece)
        if not piece or (len(piece) == left and self._hasher.hexdigest() != self._blob.digest.hex):
            raise TransferCorrupt(f"the bytes received for {self._blob.digest} have another digest")
        self._sent.advance(len(piece))
        return piece
