"""Reads the bytes of a GGUF header in order, requesting growing ranges of the file and checking bounds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NoReturn

from mlxbuild.toolchain.weights.safetensors import UnsafeWeights

HEADER_LIMIT_BYTES: Final = 64 << 20
"""The vocabulary takes 2 to 7 MB of a header; no known file comes near this limit."""

_FIRST_BYTES: Final = 1 << 20


class Cursor:
    """A position in the header. Nothing is allocated for a length that exceeds the file."""

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: int, where: str) -> None:
        self.position = 0
        self.where = where
        self._read = read
        self._size_bytes = size_bytes
        self._data = bytearray()

    def fail(self, message: str) -> NoReturn:
        """Raise an error about the file."""
        raise UnsafeWeights(
            message,
            where=self.where,
            hint="the file is damaged or not what it claims to be: get it again from its publisher",
        )

    def take(self, size_bytes: int) -> memoryview:
        """The next bytes, valid until the next read."""
        begin, end = self.position, self.position + size_bytes
        if end > len(self._data):
            self._grow(end)
        self.position = end
        return memoryview(self._data)[begin:end]

    def unsigned(self, size_bytes: int) -> int:
        """The next unsigned integer, little-endian."""
        return int.from_bytes(self.take(size_bytes), "little")

    def numbers(self, count: int, form: str) -> tuple[bool | int | float, ...]:
        """The next numbers, each of one `struct` format."""
        return struct.unpack(f"<{count}{form}", self.take(count * struct.calcsize("<" + form)))

    def text(self) -> str:
        """The next string: a length of 8 bytes, then UTF-8."""
        length = self.unsigned(8)
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError:
            self.fail(f"the header holds text that is not UTF-8, at byte {self.position - length}")

    def texts(self, count: int) -> tuple[str, ...]:
        """The next strings; optimized, since a vocabulary has hundreds of thousands."""
        found = []
        position, available = self.position, len(self._data)
        for _ in range(count):
            begin = position + 8
            if begin <= available:
                end = begin + int.from_bytes(self._data[position:begin], "little")
            if begin > available or end > available:
                self.position = position
                found.append(self.text())
                position, available = self.position, len(self._data)
                continue
            try:
                found.append(self._data[begin:end].decode())
            except UnicodeDecodeError:
                self.fail(f"the header holds text that is not UTF-8, at byte {begin}")
            position = end
        self.position = position
        return tuple(found)

    def taken(self) -> memoryview:
        """All bytes up to the current position."""
        return memoryview(self._data)[: self.position]

    def _grow(self, end: int) -> None:
        if end > self._size_bytes:
            self.fail(f"the header goes on to byte {end}, but the file ends at {self._size_bytes}")
        if end > HEADER_LIMIT_BYTES:
            self.fail(f"the header is larger than {HEADER_LIMIT_BYTES} bytes, the limit")
        wanted = min(max(end, 2 * len(self._data), _FIRST_BYTES), self._size_bytes, HEADER_LIMIT_BYTES)
        piece = self._read(len(self._data), wanted - len(self._data))
        if len(piece) != wanted - len(self._data):
            self.fail("the file is truncated within its header")
        # A new buffer, because views of the old one may still be held and would prevent resizing it.
        self._data = self._data + piece
