"""Reads the headers of a GGUF model's files, local or remote, and the few tensor values that config.json needs."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.sources.errors import DuplicateTensor
from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.derived import DerivedModel
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, read_gguf_header
from mlxbuild.toolchain.sources.gguf.split import check_split
from mlxbuild.toolchain.sources.gguf.tensor_names import factor_tensors
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights

_FACTOR_BYTES = 1 << 16
"""Upper bound for the size of a tensor with rotary frequency factors."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that can be read by ranges."""

    read: Callable[[int, int], bytes]
    """Returns the bytes at (offset, size)."""
    size_bytes: int
    where: str
    """Name of the file, for errors."""


Opener = Callable[[str], AbstractContextManager[OpenFile]]
"""Opens a part of a model by its path in the source."""


@dataclass(frozen=True, slots=True)
class GgufPart:
    """One file of a model, with its header."""

    path: str
    """Path in the source."""
    header: GgufHeader


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """A model in one or several files."""

    parts: tuple[GgufPart, ...]
    digest: Digest
    """Digest of the headers."""
    model: DerivedModel


@contextmanager
def local_file(place: Path) -> Iterator[OpenFile]:
    """Open a local file."""
    with place.open("rb") as file:
        descriptor = file.fileno()
        size_bytes = os.fstat(descriptor).st_size
        yield OpenFile(lambda begin, size: os.pread(descriptor, size, begin), size_bytes, str(place))


def read_gguf_files(paths: Sequence[str], opener: Opener, where: str, *, tokenizer: bool) -> GgufFiles:
    """Read a model's headers and derive its documents.

    Args:
        paths: The files, as returned by `split_paths`.
        opener: Opens them.
        where: Name of the source, for errors.
        tokenizer: Whether the tokenizer is derived, too; it is not if the recipe names another one.

    Raises:
        UnsafeWeights, UnsupportedGguf: a header is invalid, unsupported, or that of another part.
        DuplicateTensor: two parts declare the same tensor.
        UserError: as `derive`.
        OSError: a file cannot be read.
    """
    parts: list[GgufPart] = []
    factors: dict[str, Sequence[float]] = {}
    for path in paths:
        with opener(path) as file:
            header = read_gguf_header(file.read, file.size_bytes, file.where)
            check_split(header.metadata, len(parts) + 1, len(paths), file.where)
            factors |= _factors(header, file)
        parts.append(GgufPart(path, header))
    _check_distinct(parts, where)
    whole = _as_one(parts)
    model = derive(whole, f"{where}/{paths[0]}", tokenizer=tokenizer, factors=factors)
    return GgufFiles(tuple(parts), whole.digest, model)


def _factors(header: GgufHeader, file: OpenFile) -> Mapping[str, tuple[float, ...]]:
    factors = {}
    tensors = {tensor.name: tensor for tensor in header.tensors}
    for name in factor_tensors(header):
        tensor = tensors[name]
        if tensor.type != "F32" or tensor.size_bytes > _FACTOR_BYTES:
            raise UnsafeWeights(
                f"`{name}` is of type {tensor.type} and {tensor.size_bytes} bytes, where some float32 are expected",
                where=file.where,
                hint="get the file again, or convert it again with a current llama.cpp",
            )
        data = file.read(tensor.begin, tensor.size_bytes)
        factors[name] = struct.unpack(f"<{len(data) // 4}f", data)
    return factors


def _check_distinct(parts: Sequence[GgufPart], where: str) -> None:
    holders: dict[str, str] = {}
    for part in parts:
        for tensor in part.header.tensors:
            other = holders.setdefault(tensor.name, part.path)
            if other != part.path:
                raise DuplicateTensor(
                    f"`{other}` and `{part.path}` both hold the tensor `{tensor.name}`",
                    where=where,
                    hint="get all parts of one file again",
                )


def _as_one(parts: Sequence[GgufPart]) -> GgufHeader:
    """One header for all parts: the metadata of the first; tensor offsets stay relative to their own files."""
    if len(parts) == 1:
        return parts[0].header
    return replace(
        parts[0].header,
        tensors=tuple(tensor for part in parts for tensor in part.header.tensors),
        digest=Digest.of_bytes("".join(part.header.digest.hex for part in parts).encode()),
    )
