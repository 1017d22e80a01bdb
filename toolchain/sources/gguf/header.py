"""Reads untrusted GGUF headers and validates everything in them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.sources.gguf.cursor import Cursor
from mlxbuild.toolchain.weights.formats.gguf_types import GGML_TYPES

Value: TypeAlias = bool | int | float | str | tuple["Value", ...]
"""A value in the metadata."""

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32

_VERSIONS = (2, 3)
_NUMBER_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_DEPTH_LIMIT = 4
_KEY_LIMIT = 1 << 16
_VALUE_LIMIT = 1 << 22
"""Limit over all arrays: vocabularies have a quarter of a million tokens, with a score, a type and a merge each."""
_TEXT_LIMIT = 1 << 21
"""Limit over all arrays: tokens and merges of the largest known vocabulary are three quarters of a million."""
_ARRAY_LIMIT = 1 << 12
"""Limit for arrays within arrays, in total: no known key has any."""
_TENSOR_LIMIT = 1 << 17
_NAME_LIMIT = 1024
_RANK_LIMIT = 4
_DIMENSION_LIMIT = 2**31 - 1  # MLX stores dimensions as 32-bit signed integers
_ALIGNMENT_LIMIT = 1 << 20


class UnsupportedGguf(UserError):
    """A GGUF file seems valid, but its version, byte order or a tensor type is not supported."""

    code = "unsupported-gguf"


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as declared in the header."""

    name: str
    type: str
    """Type name in ggml: `Q4_K`, `F32`, ..."""
    shape: tuple[int, ...]
    """Rows first, columns last, which reverses the order in the file."""
    begin: int
    """Absolute offset in the file, in bytes."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A validated header."""

    metadata: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]
    """In file order."""
    size_bytes: int
    """Size of the header, without the padding before the first tensor."""
    digest: Digest
    """Digest of the header's bytes."""


def read_gguf_file_header(path: Path) -> GgufHeader:
    """Read and validate the header of a local file.

    Raises:
        UnsafeWeights, UnsupportedGguf: as `read_gguf_header`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        descriptor = file.fileno()
        return read_gguf_header(
            lambda begin, size: os.pread(descriptor, size, begin), os.fstat(descriptor).st_size, str(path)
        )


def read_gguf_header(read: Callable[[int, int], bytes], size_bytes: int, where: str) -> GgufHeader:
    """Read and validate the header of a file that may be remote.

    Args:
        read: Returns the bytes at (offset, size); called with growing ranges from the start of the file.
        size_bytes: Size of the whole file.
        where: Name of the file, for errors.

    Raises:
        UnsafeWeights: the file is truncated, or its header does not match it.
        UnsupportedGguf: its version, byte order or a tensor type is not supported.
    """
    cursor = Cursor(read, size_bytes, where)
    if size_bytes < 24 or bytes(cursor.take(4)) != MAGIC:
        cursor.fail("the file does not begin like a GGUF file")
    _check_version(cursor.unsigned(4), where)
    tensor_count, key_count = cursor.unsigned(8), cursor.unsigned(8)
    if key_count > _KEY_LIMIT or tensor_count > _TENSOR_LIMIT:
        cursor.fail(f"the header claims {key_count} keys and {tensor_count} tensors, more than any model has")
    metadata = _Metadata(cursor).read(key_count)
    entries = [_entry(cursor) for _ in range(tensor_count)]
    alignment = _alignment(metadata, cursor)
    data_begin = cursor.position + -cursor.position % alignment
    tensors = tuple(_tensor(entry, data_begin, alignment, cursor) for entry in entries)
    _check_layout(tensors, size_bytes, cursor)
    header = cursor.taken()
    return GgufHeader(MappingProxyType(metadata), tensors, len(header), Digest.of_bytes(bytes(header)))


def _check_version(version: int, where: str) -> None:
    if version in _VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *_VERSIONS):
        message, hint = "the GGUF file is big-endian", "get the little-endian file, which nearly everyone publishes"
    else:
        message = f"the GGUF file is of version {version}; versions 2 and 3 are read"
        hint = "get the file again, or convert it again with a current llama.cpp"
    raise UnsupportedGguf(message, where=where, hint=hint)


class _Metadata:
    """Reads the typed key-value pairs and counts all values, so that a small file cannot use much memory."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._values = self._texts = self._arrays = 0

    def read(self, count: int) -> dict[str, Value]:
        metadata: dict[str, Value] = {}
        for _ in range(count):
            key = self._cursor.text()
            if not key or len(key) > _NAME_LIMIT or not key.isprintable():
                self._cursor.fail(f"a key is 1 to {_NAME_LIMIT} printable characters, not `{_printable(key)}`")
            if key in metadata:
                self._cursor.fail(f"the header has the key `{key}` twice")
            metadata[key] = self._value(self._cursor.unsigned(4), key, 0)
        return metadata

    def _value(self, kind: int, key: str, depth: int) -> Value:
        if kind == _TEXT:
            return self._cursor.text()
        if kind == _ARRAY:
            return self._array(key, depth + 1)
        if kind not in _NUMBER_FORMS:
            self._cursor.fail(f"`{key}` is of the unknown kind {kind}")
        return self._cursor.numbers(1, _NUMBER_FORMS[kind])[0]

    def _array(self, key: str, depth: int) -> Value:
        if depth > _DEPTH_LIMIT:
            self._cursor.fail(f"`{key}` nests arrays deeper than {_DEPTH_LIMIT}")
        kind, count = self._cursor.unsigned(4), self._cursor.unsigned(8)
        self._values += count
        if self._values > _VALUE_LIMIT:
            self._cursor.fail(f"`{key}` and the keys before it hold {self._values} values, more than any vocabulary")
        if kind in _NUMBER_FORMS:
            return self._cursor.numbers(count, _NUMBER_FORMS[kind])
        if kind == _TEXT:
            self._texts += count
            if self._texts > _TEXT_LIMIT:
                self._cursor.fail(f"`{key}` and the keys before it hold {self._texts} texts, more than any vocabulary")
            return self._cursor.texts(count)
        if kind == _ARRAY:
            self._arrays += count
            if self._arrays > _ARRAY_LIMIT:
                self._cursor.fail(f"`{key}` and the keys before it hold {self._arrays} arrays in arrays, too many")
        return tuple(self._value(kind, key, depth) for _ in range(count))


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


def _entry(cursor: Cursor) -> _Entry:
    name = cursor.text()
    if not name or len(name) > _NAME_LIMIT or not name.isprintable():
        cursor.fail(f"a tensor's name is 1 to {_NAME_LIMIT} printable characters, not `{_printable(name)}`")
    rank = cursor.unsigned(4)
    if not 1 <= rank <= _RANK_LIMIT:
        cursor.fail(f"tensor `{name}` has {rank} dimensions; 1 to {_RANK_LIMIT} are possible")
    dimensions = tuple(cursor.unsigned(8) for _ in range(rank))
    if not all(1 <= dimension <= _DIMENSION_LIMIT for dimension in dimensions):
        cursor.fail(f"tensor `{name}` has the shape {list(reversed(dimensions))}")
    return _Entry(name, tuple(reversed(dimensions)), cursor.unsigned(4), cursor.unsigned(8))


def _alignment(metadata: Mapping[str, Value], cursor: Cursor) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or not 1 <= value <= _ALIGNMENT_LIMIT or value & (value - 1):
        cursor.fail(f"`general.alignment` is {_printable(repr(value))}, which is not a power of two up to 2^20")
    return value


def _tensor(entry: _Entry, data_begin: int, alignment: int, cursor: Cursor) -> GgufTensor:
    kind = GGML_TYPES.get(entry.type)
    if kind is None:
        raise UnsupportedGguf(
            f"tensor `{entry.name}` is of the type {entry.type}, which is not known",
            where=cursor.where,
            hint="get a file of another quantization, such as Q4_K_M or Q8_0",
        )
    columns = entry.shape[-1]
    if columns % kind.block_numbers:
        cursor.fail(
            f"tensor `{entry.name}` has {columns} columns, but a block of {kind.name} holds {kind.block_numbers}"
        )
    if entry.offset % alignment:
        cursor.fail(f"tensor `{entry.name}` begins at {entry.offset}, which is not aligned to {alignment}")
    size_bytes = math.prod(entry.shape) // kind.block_numbers * kind.block_bytes
    return GgufTensor(entry.name, kind.name, entry.shape, data_begin + entry.offset, size_bytes)


def _check_layout(tensors: tuple[GgufTensor, ...], size_bytes: int, cursor: Cursor) -> None:
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            cursor.fail(f"the header names the tensor `{tensor.name}` twice")
        names.add(tensor.name)
    position = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.begin):
        if tensor.begin < position:
            cursor.fail(f"tensor `{tensor.name}` overlaps another one")
        position = tensor.begin + tensor.size_bytes
        if position > size_bytes:
            cursor.fail(f"tensor `{tensor.name}` ends at {position}, but the file ends at {size_bytes}")


def _printable(text: str) -> str:
    return (text if len(text) <= 120 else text[:117] + "...").encode("unicode_escape").decode("ascii")
