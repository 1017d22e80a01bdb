"""Reads tensors from source files in slices of rows, and detects changes of the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import StepError

SLICE_BYTES: Final = 1024 * 1024


class SourceChanged(StepError):
    """A source file has changed since it was verified."""

    code = "source-changed"


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A checkpoint's tensor, located by the digest of its file and an offset."""

    name: str
    dtype: str
    """Dtype in the safetensors header."""
    shape: tuple[int, ...]
    file: Digest
    begin: int
    """Absolute offset in the file."""
    size_bytes: int


class SourceFile:
    """An open source file; use it in a `with` statement, whose end checks that the file has not changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._state = self._stat()

    def slices(self, tensor: SourceTensor, row_bytes: int, slice_bytes: int) -> Iterator[memoryview]:
        """The tensor's bytes in order, in whole rows, at most `slice_bytes` at once unless a single row is larger.

        The buffer is reused: a slice is valid until the next one is requested.

        Raises:
            SourceChanged: the file is too short.
        """
        step = max(row_bytes, slice_bytes - slice_bytes % max(row_bytes, 1))
        buffer = memoryview(bytearray(min(step, tensor.size_bytes)))
        for begin in range(0, tensor.size_bytes, max(step, 1)):
            piece = buffer[: min(step, tensor.size_bytes - begin)]
            self._fill(piece, tensor.begin + begin)
            yield piece

    def read(self, offset: int, size_bytes: int, *, pieces: int = 1, stride_bytes: int = 0) -> bytearray:
        """A range of bytes, or `pieces` ranges of that size that start `stride_bytes` apart, joined.

        Raises:
            SourceChanged: the file is too short.
        """
        data = bytearray(size_bytes * pieces)
        view = memoryview(data)
        for number in range(pieces):
            self._fill(view[number * size_bytes : (number + 1) * size_bytes], offset + number * stride_bytes)
        return data

    def check(self) -> None:
        """Raise `SourceChanged` if the file was modified since it was opened."""
        if self._stat() != self._state:
            raise SourceChanged(
                f"{self.path.name} changed while it was read",
                where=str(self.path),
                hint="let nothing write to the model's folder, then run again",
            )

    def close(self) -> None:
        """Close the file without checking it."""
        self._file.close()

    def _fill(self, piece: memoryview, offset: int) -> None:
        self._file.seek(offset)
        filled = 0
        while filled < len(piece):
            count = self._file.readinto(piece[filled:])
            if not count:
                raise SourceChanged(f"{self.path.name} ends too early", where=str(self.path))
            filled += count

    def _stat(self) -> tuple[int, int, int]:
        stat = os.fstat(self._file.fileno())
        return (stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.close()
