"""Reads and validates untrusted safetensors headers.

Format: https://github.com/huggingface/safetensors#format (8 bytes of length, a JSON header, then the tensors
without gaps in between). Whatever the reference reader refuses is refused here, before any weights are read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from mlxbuild.registry.core.errors import UserError

DTYPE_SIZES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes per element of every dtype with whole bytes per element."""

HEADER_LIMIT_BYTES: Final = 100_000_000
"""The limit in the reference reader."""

_LENGTH_BYTES: Final = 8
_NAME_LIMIT: Final = 1024
_RANK_LIMIT: Final = 32
_DIMENSION_LIMIT: Final = 2**31 - 1  # MLX stores dimensions as 32-bit signed integers


class UnsafeWeights(UserError):
    """A weights file is truncated, or its header does not match its bytes."""

    code = "unsafe-weights"


@dataclass(frozen=True, slots=True)
class HeaderTensor:
    """A tensor as declared in the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Absolute offset in the file, in bytes."""
    size_bytes: int


def read_file_header(path: Path) -> tuple[HeaderTensor, ...]:
    """Read and validate the tensor table of a file, sorted by name.

    Raises:
        UnsafeWeights: as `read_header`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        descriptor = file.fileno()
        return read_header(
            lambda begin, size: os.pread(descriptor, size, begin), os.fstat(descriptor).st_size, str(path)
        )


def read_header(read: Callable[[int, int], bytes], size_bytes: int, where: str) -> tuple[HeaderTensor, ...]:
    """Read and validate the tensor table of a file that may be remote, sorted by name.

    Args:
        read: Returns the bytes at (offset, size); called for the length, then for the header alone.
        size_bytes: Size of the whole file.
        where: Name of the file, for errors.

    Raises:
        UnsafeWeights: the file is truncated, the header is not valid JSON, or names, dtypes, shapes and offsets do
            not describe exactly the bytes of the file.
    """
    check = _Checker(where)
    if size_bytes < _LENGTH_BYTES:
        check.fail(f"the file has {size_bytes} bytes, too few for a safetensors file")
    length_bytes = read(0, _LENGTH_BYTES)
    if len(length_bytes) != _LENGTH_BYTES:
        check.fail("the file is truncated within its first 8 bytes")
    length = int.from_bytes(length_bytes, "little")
    if length > HEADER_LIMIT_BYTES:
        check.fail(f"the header claims {length} bytes, more than the limit of {HEADER_LIMIT_BYTES}")
    data_begin = _LENGTH_BYTES + length
    if data_begin > size_bytes:
        check.fail(f"the header claims {length} bytes, but the file ends at {size_bytes}")
    header = read(_LENGTH_BYTES, length)
    if len(header) != length:
        check.fail("the file is truncated within its header")
    entries = check.parse(header)
    check.metadata(entries.pop("__metadata__", None))
    tensors = [check.tensor(name, entry, data_begin) for name, entry in entries.items()]
    check.layout(tensors, data_begin, size_bytes)
    tensors.sort(key=lambda tensor: tensor.name)
    return tuple(tensors)


class _Checker:
    """Validates one file; every error names the file, and the tensor if there is one."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, message: str, tensor: str | None = None) -> NoReturn:
        subject = "" if tensor is None else f"tensor `{_printable(tensor)}`: "
        raise UnsafeWeights(
            subject + message,
            where=self.where,
            hint="the file is damaged or not what it claims to be: get it again from its publisher",
        )

    def parse(self, header: bytes) -> dict[str, Any]:
        if not header.startswith(b"{"):
            self.fail("the header is not a JSON object")
        try:
            entries = json.loads(
                header.decode("utf-8"), object_pairs_hook=self._unique, parse_constant=self._no_constant
            )
        except UnicodeDecodeError:
            self.fail("the header is not UTF-8")
        except (ValueError, RecursionError) as error:
            self.fail(f"the header is not valid JSON ({str(error)[:200]})")
        assert isinstance(entries, dict)
        return entries

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    self.fail("the header names it twice", name)
                seen.add(name)
        return entries

    def _no_constant(self, text: str) -> NoReturn:
        self.fail(f"the header holds {text}, which is not JSON")

    def metadata(self, entry: Any) -> None:
        if entry is None:
            return
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            self.fail("`__metadata__` is not a map from text to text")

    def tensor(self, name: str, entry: Any, data_begin: int) -> HeaderTensor:
        if not name or len(name) > _NAME_LIMIT or not name.isprintable():
            self.fail(f"a name is 1 to {_NAME_LIMIT} printable characters", name)
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            self.fail("the entry needs exactly `dtype`, `shape` and `data_offsets`", name)
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPE_SIZES:
            self.fail(f"unknown dtype {_printable(repr(dtype))}", name)
        if not isinstance(shape, list) or len(shape) > _RANK_LIMIT or not _counts(shape, _DIMENSION_LIMIT):
            self.fail("the shape is not a short list of whole numbers below 2^31", name)
        if not isinstance(offsets, list) or len(offsets) != 2 or not _counts(offsets, 2**63 - 1):
            self.fail("`data_offsets` is not a pair of whole numbers", name)
        begin, end = offsets
        size_bytes = math.prod(shape) * DTYPE_SIZES[dtype]
        if end - begin != size_bytes:
            self.fail(f"{dtype} of shape {shape} needs {size_bytes} bytes, its offsets span {end - begin}", name)
        return HeaderTensor(name, dtype, tuple(shape), data_begin + begin, size_bytes)

    def layout(self, tensors: Iterable[HeaderTensor], data_begin: int, size_bytes: int) -> None:
        position = data_begin
        for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.size_bytes)):
            if tensor.begin != position:
                what = "overlaps another tensor" if tensor.begin < position else "leaves a hole before it"
                self.fail(f"it {what} (begins at {tensor.begin}, expected {position})", tensor.name)
            position += tensor.size_bytes
            if position > size_bytes:
                self.fail(f"it ends at {position}, but the file ends at {size_bytes}", tensor.name)
        if position != size_bytes:
            self.fail(f"{size_bytes - position} bytes after the last tensor belong to none")


def _counts(values: list[Any], limit: int) -> bool:
    return all(type(value) is int and 0 <= value <= limit for value in values)


def _printable(text: str) -> str:
    short = text if len(text) <= 120 else text[:117] + "..."
    return short.encode("unicode_escape").decode("ascii")
