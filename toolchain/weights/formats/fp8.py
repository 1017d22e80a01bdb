"""FP8 weights (E4M3): decoded to floats."""

from __future__ import annotations

import mlx.core as mx

from toolchain.weights.decoded import DecodedTensor
from toolchain.weights.dtypes import MLX_DTYPES
from toolchain.weights.formats.decoding import Decoded, Parts


def rows_of_plain(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Numbers without any scale: every E4M3 number is one of float16, bfloat16 and float32 too."""
    return Decoded(mx.from_fp8(parts.rows("weight", begin, end), dtype=MLX_DTYPES[tensor.dtype]))
