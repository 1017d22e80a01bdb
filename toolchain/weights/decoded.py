"""Decoded tensors, whose numbers are computed from what another tool stored, as used in plans, records and steps.

`toolchain.weights.formats` has the decoding methods. MLX is not loaded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.weights.reading import SourceTensor

Accuracy = Literal["exact", "near", "rounded"]
"""How close decoded numbers are to those in the source's format: exact · near: equal except for the last bits of a
float · rounded: on a coarser grid than the source's, or quantized a second time."""

_FROM_BEST: Final[tuple[Accuracy, ...]] = ("exact", "near", "rounded")


@dataclass(frozen=True, slots=True)
class DecodedTensor:
    """A row of the model's tensor table that is not stored, but decoded slice by slice from tensors that are."""

    name: str
    dtype: str
    """Dtype of the result, as in a safetensors header."""
    shape: tuple[int, ...]
    """Shape of the result."""
    method: str
    """A key of `toolchain.weights.formats.decoding.DECODERS`."""
    parameters: Mapping[str, Any]
    """Plain JSON data for the decoder."""
    parts: Mapping[str, SourceTensor]
    """The tensors that it is decoded from, by the decoder's names for them."""


ModelTensor = SourceTensor | DecodedTensor
"""A row of the model's tensor table: stored in a file as it is, or decoded."""


def files_of(tensors: Iterable[ModelTensor]) -> frozenset[Digest]:
    """Digests of the source files that hold some tensors, or their parts."""
    return frozenset(tensor.file for tensor in stored_tensors(tensors))


def stored_tensors(tensors: Iterable[ModelTensor]) -> tuple[SourceTensor, ...]:
    """The stored tensors behind some tensors: themselves or their parts, each once, in order."""
    stored: dict[SourceTensor, None] = {}
    for tensor in tensors:
        stored |= dict.fromkeys((tensor,) if isinstance(tensor, SourceTensor) else tensor.parts.values())
    return tuple(stored)


def worst(accuracies: Iterable[Accuracy]) -> Accuracy:
    """The least accurate of some accuracies; exact if there are none."""
    return max(accuracies, key=_FROM_BEST.index, default="exact")


def source_row(tensor: SourceTensor) -> list[Any]:
    """A source tensor as JSON data."""
    return [tensor.name, tensor.dtype, list(tensor.shape), tensor.file.hex, tensor.begin, tensor.size_bytes]


def source_of_row(row: list[Any]) -> SourceTensor:
    """The inverse of `source_row`."""
    name, dtype, shape, file, begin, size_bytes = row
    return SourceTensor(name, dtype, tuple(shape), Digest("sha256", file), begin, size_bytes)


def decoded_row(tensor: DecodedTensor) -> dict[str, Any]:
    """A decoded tensor as JSON data."""
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
