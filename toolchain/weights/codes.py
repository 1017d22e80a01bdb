"""Finds invalid 8-bit floats, most of them scales: NaN, and exponents that are too large.

MLX silently computes NaN or infinity from them, and checks of floats do not cover bytes. An exponent (E8M0) of 255 is
NaN in any dtype (OCP Microscaling Formats, 5.4.1). The others are powers of two up to 2^127, and MLX dequantizes a
group in the compute dtype: 6 x 2^126 exceeds float32 and bfloat16, 6 x 2^14 exceeds float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import mlx.core as mx

_E4M3: Final = frozenset({0x7F, 0xFF})
_E8M0: Final = frozenset({0xFF})
NAN_CODES: Final = _E4M3 | _E8M0
"""The bytes that are NaN in either format; as an E8M0 exponent, 0x7F means 1.0 and so is never too large."""

_BIAS: Final = 127
_LARGEST_EXPONENTS: Final = {mx.float16: 15, mx.bfloat16: 127, mx.float32: 127}
_E2M1_EXPONENT: Final = 2
"""Exponent of 6, the largest number of E2M1."""
_E4M3_EXPONENT: Final = 8
"""Exponent of 448, the largest number of E4M3."""

_OF_DTYPES: Final = {"F8_E4M3": _E4M3, "F8_E8M0": _E8M0}


def broken_codes(dtype: str) -> frozenset[int]:
    """The bytes that are NaN in a safetensors dtype; empty for dtypes other than 8-bit floats."""
    return _OF_DTYPES.get(dtype, frozenset())


def broken_parameter(
    name: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, mx.Dtype], computes: mx.Dtype
) -> frozenset[int]:
    """The bytes that must not occur in the scales of a matrix quantized by MLX, or in the numbers of mxfp8: NaN, and
    exponents for which the largest number of the format exceeds the compute dtype.

    Args:
        name: Name of a parameter.
        shapes: Shapes of all parameters of its block.
        dtypes: Dtypes of all parameters of its block.
        computes: The dtype that MLX computes in.
    """
    module, _, leaf = name.rpartition(".")
    weight, scales = shapes.get(f"{module}.weight"), shapes.get(f"{module}.scales")
    if leaf not in ("weight", "scales") or not weight or not scales or dtypes[f"{module}.scales"] != mx.uint8:
        return frozenset()
    words = weight[-1] // max(scales[-1], 1)  # per scale: 16 or 32 numbers of 4 bits, or 32 of 8
    if leaf == "weight":
        return _E4M3 if words == 8 else frozenset()
    if words == 2:
        return _E4M3
    highest = _E4M3_EXPONENT if words == 8 else _E2M1_EXPONENT
    return frozenset(range(_BIAS + _LARGEST_EXPONENTS[computes] - highest + 1, 256))


def holds(data: bytes, codes: frozenset[int]) -> bool:
    """Whether any byte is among the codes."""
    return len(data.translate(None, bytes(codes))) != len(data)
