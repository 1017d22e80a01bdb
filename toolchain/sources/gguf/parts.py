"""Reads what a GGUF model is off its files, wherever they lie: headers, and the few numbers that config.json wants."""

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
"""No rotary frequencies need more."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that can be read by ranges."""

    read: Callable[[int, int], bytes]
    """Gives the bytes at (offset, size)."""
    size_bytes: int
    where: str
    """For errors."""


Opener = Callable[[str], AbstractContextManager[OpenFile]]
"""Opens a part of a model by its path in the source."""


@dataclass(frozen=True, slots=True)
class GgufPart:
    """One file of a model, with what its header says."""

    path: str
    """In the source."""
    header: GgufHeader


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """A model in one or several files."""

    parts: tuple[GgufPart, ...]
    digest: Digest
    """Over the headers."""
    model: DerivedModel


@contextmanager
def local_file(place: Path) -> Iterator[OpenFile]:
    """A file on this machine."""
    with place.open("rb") as file:
        descriptor = file.fileno()
        size_bytes = os.fstat(descriptor).st_size
        yield OpenFile(lambda begin, size: os.pread(descriptor, size, begin), size_bytes, str(place))


def read_gguf_files(paths: Sequence[str], opener: Opener, where: str, *, tokenizer: bool) -> GgufFiles:
    """Read a model's headers and derive what follows from them.

    Args:
        paths: The files, as `split_paths` gives them.
        opener: Opens them.
        where: The source, for errors.
        tokenizer: Whether the tokenizer is derived, too; a recipe that names another does without.

    Raises:
        UnsafeWeights, UnsupportedGguf: a header is damaged, of another form, or of another part.
        DuplicateTensor: two parts declare one tensor.
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
                hint="get the file again, or make it anew with today's llama.cpp",
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
    """One header over all parts: the metadata is in the first; offsets of tensors are those in their own files."""
    if len(parts) == 1:
        return parts[0].header
    return replace(
        parts[0].header,
        tensors=tuple(tensor for part in parts for tensor in part.header.tensors),
        digest=Digest.of_bytes("".join(part.header.digest.hex for part in parts).encode()),
    )
