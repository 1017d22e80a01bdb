"""Decodes FP8 weights (E4M3), with and without scales."""

from __future__ import annotations

import mlx.core as mx

from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.formats.decoders.floats import cast_product, exponents_as_floats
from mlxbuild.toolchain.weights.formats.decoding import Decoded, TensorParts


def rows_of_plain(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Numbers without a scale: float16, bfloat16 and float32 represent every E4M3 number exactly."""
    return Decoded(mx.from_fp8(parts.rows("weight", begin, end), dtype=MLX_DTYPES[tensor.dtype]))


def rows_of_scaled(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Numbers times the scale of their block, in float32, then cast.

    Parameters: `rows`, the number of rows after which blocks start again; `block`, rows and columns of a block.
    """
    numbers = mx.from_fp8(parts.rows("weight", begin, end), dtype=mx.float32)
    stored = _scales(tensor, parts, begin, end)
    scales = exponents_as_floats(stored) if stored.dtype == mx.uint8 else stored.astype(mx.float32)
    spread = mx.repeat(scales, tensor.parameters["block"][1], axis=1)[:, : numbers.shape[1]]
    return cast_product(numbers, spread, scales, MLX_DTYPES[tensor.dtype])


def rows_of_exponents(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The scales of MLX's mxfp8, one per 32 numbers: those of larger blocks are repeated. Parameters as above."""
    scales = mx.repeat(_scales(tensor, parts, begin, end), tensor.parameters["block"][1] // 32, axis=1)
    return Decoded(mx.contiguous(scales[:, : tensor.shape[-1]]))


def _scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> mx.array:
    """The scales of each row's blocks. The part is a matrix with a row per row of blocks."""
    rows, height = tensor.parameters["rows"], tensor.parameters["block"][0]
    down = -(-rows // height)
    wanted = [row // rows * down + row % rows // height for row in range(begin, end)]
    return parts.rows("scale", wanted[0], wanted[-1] + 1)[mx.array([row - wanted[0] for row in wanted])]
