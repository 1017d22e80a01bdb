"""Reads the files of an untrusted tar sequentially and in bounded memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from mlxbuild.registry.artifact.files import UnsafePath, collisions, unsafe
from mlxbuild.toolchain.interchange.errors import BrokenArchive

PIECE_BYTES = 1 << 20
_MOST_ENTRIES = 100_000
_COMPRESSED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7": "xz -d", b"\x28\xb5": "zstd -d"}
_AGAIN = "write the archive again, or copy it again"


def files(stream: BinaryIO, where: str) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Path, size and content chunks of every regular file, in the archive's order.

    Consume each content before asking for the next file. Directories are skipped.

    Args:
        stream: Need not be seekable.
        where: Name of the archive, for errors.

    Raises:
        UnsafePath: a path is absolute, leaves the archive, or is repeated (in any case), or is a link or a device.
        BrokenArchive: it is not a tar, compressed, or truncated.
    """
    source = _Forward(stream, where)
    seen: list[str] = []
    try:
        with tarfile.open(fileobj=source, mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # otherwise tarfile remembers all of them
                path = _checked(member, where)
                if member.isdir() or path is None:
                    continue
                seen.append(path)
                if len(seen) > _MOST_ENTRIES:
                    raise BrokenArchive(f"it has more than {_MOST_ENTRIES} files", where=where)
                yield path, member.size, _content(tar, member, where)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise BrokenArchive(f"it is not a whole tar: {error}", where=where, hint=_AGAIN) from error
    for first, second in collisions(seen):
        raise UnsafePath(f"`{first}` and `{second}` are one file on some systems", where=where)


def _checked(member: tarfile.TarInfo, where: str) -> str | None:
    """The path of an entry; None for the top folder itself."""
    path = member.name.removeprefix("./").rstrip("/")
    if member.isdir() and path in ("", "."):
        return None
    if reason := unsafe(path):
        raise UnsafePath(f"`{member.name}` {reason}", where=where, hint="do not use this archive")
    if not member.isdir() and (not member.isreg() or member.issparse()):
        raise UnsafePath(f"`{member.name}` is a link or no plain file", where=where, hint="do not use this archive")
    return path


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> Iterator[bytes]:
    file = tar.extractfile(member)
    assert file is not None
    try:
        while piece := file.read(PIECE_BYTES):
            yield piece
    except tarfile.TarError as error:
        raise BrokenArchive(f"`{member.name}` is cut off", where=where, hint=_AGAIN) from error


class _Forward:
    """A stream with the interface that tarfile needs: it seeks forward only, and bounds what a header makes it read."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream = stream
        self._where = where
        self._position = 0

    def read(self, size_bytes: int) -> bytes:
        if size_bytes > PIECE_BYTES:
            raise BrokenArchive(f"a header claims {size_bytes} bytes", where=self._where)
        data = self._fill(size_bytes)
        if self._position == 0:
            self._check_beginning(data)
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.StreamError("it would have to be read twice")
        while self._position < position:
            if not self.read(min(PIECE_BYTES, position - self._position)):
                raise tarfile.ReadError("it ends too early")

    def _fill(self, size_bytes: int) -> bytes:
        """Read until `size_bytes` are there, because a pipe may return less."""
        pieces, left = [], size_bytes
        while left and (piece := self._stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _check_beginning(self, data: bytes) -> None:
        for magic, command in _COMPRESSED.items():
            if data.startswith(magic):
                raise BrokenArchive("it is compressed", where=self._where, hint=f"unpack it first with `{command}`")
