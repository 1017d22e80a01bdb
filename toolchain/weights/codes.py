"""Numbers of one byte, most of them scales: which are no numbers, or too large. What reads them lives elsewhere.

MLX computes NaN or infinity from them without a word, as no check of floats sees a byte. An exponent (E8M0) of 255 is
NaN whatever is computed in (OCP Microscaling Formats, 5.4.1). The others are powers of two up to 2^127, and MLX makes a
number of a group in the type that it computes in: 6 x 2^126 is beyond float32 and bfloat16, 6 x 2^14 beyond float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import mlx.core as mx

_E4M3: Final = frozenset({0x7F, 0xFF})
_E8M0: Final = frozenset({0xFF})
NAN_CODES: Final = _E4M3 | _E8M0
"""The bytes that are NaN as one or the other; as exponents that are too large, 0x7F is none."""

_BIAS: Final = 127
_LARGEST_EXPONENTS: Final = {mx.float16: 15, mx.bfloat16: 127, mx.float32: 127}
_E2M1_EXPONENT: Final = 2
"""Of 6, the largest number of E2M1."""
_E4M3_EXPONENT: Final = 8
"""Of 448."""

_OF_DTYPES: Final = {"F8_E4M3": _E4M3, "F8_E8M0": _E8M0}


def broken_codes(dtype: str) -> frozenset[int]:
    """The bytes that are NaN in a dtype of safetensors; none in one that is no float of 8 bits."""
    return _OF_DTYPES.get(dtype, frozenset())


def broken_parameter(
    name: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, mx.Dtype], computes: mx.Dtype
) -> frozenset[int]:
    """The bytes that must not be in the scales of a matrix that MLX has quantized, or in the numbers of mxfp8: NaN, and
    exponents under which the largest number of the format is beyond what is computed in.

    Args:
        name: A parameter.
        shapes: Of all parameters of its block.
        dtypes: Likewise.
        computes: What MLX will compute in.
    """
    module, _, leaf = name.rpartition(".")
    weight, scales = shapes.get(f"{module}.weight"), shapes.get(f"{module}.scales")
    if leaf not in ("weight", "scales") or not weight or not scales or dtypes[f"{module}.scales"] != mx.uint8:
        return frozenset()
    words = weight[-1] // max(scales[-1], 1)  # that share a scale: 16 or 32 numbers of 4 bits, 32 of 8
    if leaf == "weight":
        return _E4M3 if words == 8 else frozenset()
    if words == 2:
        return _E4M3
    highest = _E4M3_EXPONENT if words == 8 else _E2M1_EXPONENT
    return frozenset(range(_BIAS + _LARGEST_EXPONENTS[computes] - highest + 1, 256))


def holds(data: bytes, codes: frozenset[int]) -> bool:
    """Whether one of the bytes is among the codes."""
    return len(data.translate(None, bytes(codes))) != len(data)
