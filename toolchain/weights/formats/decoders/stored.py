"""Decoders for bytes that only change their name or dtype, and for dequantizing matrices in MLX's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlxbuild.toolchain.weights.decoded import DecodedTensor, worst
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.formats.decoders.bits import unpacked
from mlxbuild.toolchain.weights.formats.decoders.floats import cast
from mlxbuild.toolchain.weights.formats.decoding import Decoded, TensorParts, decoder_of


def rows_as_stored(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The rows of the only part, viewed as the tensor's dtype."""
    (part,) = tensor.parts
    return Decoded(parts.rows(part, begin, end).view(MLX_DTYPES[tensor.dtype]))


def rows_dequantized(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Weight, scales and biases, each decoded on its own, dequantized in float32 and then cast.

    Parameters: `mode`, `bits`, `group_size`, and `inner`: leaf name to dtype, columns, method, parameters and parts.
    """
    chosen = tensor.parameters
    inner = {leaf: _Inner.of(tensor, leaf, way) for leaf, way in chosen["inner"].items()}
    rows = {leaf: each.rows(parts, begin, end) for leaf, each in inner.items()}
    arrays = {leaf: decoded.rows for leaf, decoded in rows.items()}
    decoded = cast(_floats(arrays, chosen), MLX_DTYPES[tensor.dtype])
    return Decoded(decoded.rows, worst(each.accuracy or "exact" for each in (decoded, *rows.values())))


def _floats(arrays: Mapping[str, mx.array], chosen: Mapping[str, Any]) -> mx.array:
    weight, scales, group_size, bits = arrays["weight"], arrays["scales"], chosen["group_size"], chosen["bits"]
    if chosen["mode"] != "affine":
        return mx.dequantize(weight, scales, group_size=group_size, bits=bits, mode=chosen["mode"], dtype=mx.float32)
    # Not `mx.dequantize`: on some machines its product and sum are fused with a single rounding.
    numbers = unpacked(weight, bits).astype(mx.float32).reshape(*scales.shape, group_size)
    products = numbers * scales.astype(mx.float32)[..., None]
    return (products + arrays["biases"].astype(mx.float32)[..., None]).reshape(scales.shape[0], -1)


@dataclass(frozen=True, slots=True)
class _Inner:
    """One of weight, scales and biases of a tensor that is dequantized."""

    tensor: DecodedTensor

    @classmethod
    def of(cls, outer: DecodedTensor, leaf: str, way: Any) -> _Inner:
        shape = (*outer.shape[:-1], way["columns"])
        parts = {part: outer.parts[part] for part in way["parts"]}
        return cls(DecodedTensor(leaf, way["dtype"], shape, way["method"], way["parameters"], parts))

    def rows(self, parts: TensorParts, begin: int, end: int) -> Decoded:
        return decoder_of(self.tensor.method)(self.tensor, parts, begin, end)
