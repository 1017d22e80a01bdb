"""Tensors of a model whose numbers are decoded from what another tool stored. How each method decodes lives in
`toolchain.weights.formats`; here is what a plan, a record and a step say about such a tensor. Loads no MLX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.weights.reading import SourceTensor

Accuracy = Literal["exact", "near", "rounded"]
"""How close numbers are to those that the source's own format means: exact · near: equal but for the last bits of a
float · rounded: on a coarser grid than the source's, or quantized once more."""

_FROM_BEST: Final[tuple[Accuracy, ...]] = ("exact", "near", "rounded")


@dataclass(frozen=True, slots=True)
class DecodedTensor:
    """A row of the model's tensor table that no file holds: computed, slice by slice, from tensors that files hold."""

    name: str
    dtype: str
    """Of the result, as in a safetensors header."""
    shape: tuple[int, ...]
    """Of the result."""
    method: str
    """Key of `toolchain.weights.formats.decoding.DECODERS`."""
    parameters: Mapping[str, Any]
    """Plain JSON data for the decoder."""
    parts: Mapping[str, SourceTensor]
    """What it is decoded from, by the decoder's own names."""


ModelTensor = SourceTensor | DecodedTensor
"""A row of the model's tensor table: bytes of a file as they are, or decoded."""


def files_of(tensors: Iterable[ModelTensor]) -> frozenset[Digest]:
    """The source files that hold some tensors, or their parts."""
    return frozenset(tensor.file for tensor in stored_tensors(tensors))


def stored_tensors(tensors: Iterable[ModelTensor]) -> tuple[SourceTensor, ...]:
    """What files hold of some tensors: themselves or their parts, each once, in order."""
    stored: dict[SourceTensor, None] = {}
    for tensor in tensors:
        stored |= dict.fromkeys((tensor,) if isinstance(tensor, SourceTensor) else tensor.parts.values())
    return tuple(stored)


def worst(accuracies: Iterable[Accuracy]) -> Accuracy:
    """The least close of some; exact if there are none."""
    return max(accuracies, key=_FROM_BEST.index, default="exact")


def source_row(tensor: SourceTensor) -> list[Any]:
    """A source tensor as JSON."""
    return [tensor.name, tensor.dtype, list(tensor.shape), tensor.file.hex, tensor.begin, tensor.size_bytes]


def source_of_row(row: list[Any]) -> SourceTensor:
    """The inverse of `source_row`."""
    name, dtype, shape, file, begin, size_bytes = row
    return SourceTensor(name, dtype, tuple(shape), Digest("sha256", file), begin, size_bytes)


def decoded_row(tensor: DecodedTensor) -> dict[str, Any]:
    """A decoded tensor as JSON."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "method": tensor.method,
        "parameters": dict(tensor.parameters),
        "parts": {part: source_row(stored) for part, stored in tensor.parts.items()},
    }


def decoded_of_row(row: Mapping[str, Any]) -> DecodedTensor:
    """The inverse of `decoded_row`."""
    parts = {part: source_of_row(stored) for part, stored in row["parts"].items()}
    return DecodedTensor(row["name"], row["dtype"], tuple(row["shape"]), row["method"], row["parameters"], parts)
