"""Decodes NVFP4 weights: the scale of the whole tensor folded into those of the groups, or everything as floats."""

from __future__ import annotations

import mlx.core as mx

from toolchain.weights.decoded import DecodedTensor
from toolchain.weights.dtypes import MLX_DTYPES
from toolchain.weights.formats.decoders.floats import cast
from toolchain.weights.formats.decoding import Decoded, Parts


def rows_of_scales(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Scales times the tensor's own one, as E4M3: exact where each product is such a number, else rounded to one.

    Parameter: `divides`, whether the tensor's scale divides.
    """
    products = _scales(tensor, parts, begin, end)
    folded = mx.to_fp8(products)
    same = mx.all(mx.from_fp8(folded, dtype=mx.float32) == products)
    return Decoded(folded, "exact" if same.item() else "rounded")


def rows_as_floats(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Every number by both of its scales, in float32, then cast. Parameter as above."""
    words = parts.rows("weight", begin, end).view(mx.uint32)
    ones = mx.full((end - begin, tensor.shape[-1] // 16), 0x38, dtype=mx.uint8)  # 1 as E4M3
    numbers = mx.dequantize(words, ones, group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
    return cast(numbers * mx.repeat(_scales(tensor, parts, begin, end), 16, axis=1), MLX_DTYPES[tensor.dtype])


def _scales(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> mx.array:
    scales = mx.from_fp8(parts.rows("scale", begin, end), dtype=mx.float32)
    whole = parts.whole("whole").astype(mx.float32).reshape(())
    return scales / whole if tensor.parameters["divides"] else scales * whole
