"""Numbers of one byte, most of them scales: which are no numbers. What holds and reads them lives elsewhere.

MLX computes NaN from them without a word, as no check of floats sees a byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import mlx.core as mx

_E4M3: Final = frozenset({0x7F, 0xFF})
_E8M0: Final = frozenset({0xFF})

_OF_DTYPES: Final = {"F8_E4M3": _E4M3, "F8_E8M0": _E8M0}


def broken_codes(dtype: str) -> frozenset[int]:
    """The bytes that are NaN in a dtype of safetensors; none in one that is no float of 8 bits."""
    return _OF_DTYPES.get(dtype, frozenset())


def broken_parameter(
    name: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, mx.Dtype]
) -> frozenset[int]:
    """The bytes that are NaN in the scales of a matrix that MLX has quantized, or in the numbers of mxfp8.

    Args:
        name: A parameter.
        shapes: Of all parameters of its block.
        dtypes: Likewise.
    """
    module, _, leaf = name.rpartition(".")
    weight, scales = shapes.get(f"{module}.weight"), shapes.get(f"{module}.scales")
    if leaf not in ("weight", "scales") or not weight or not scales or dtypes[f"{module}.scales"] != mx.uint8:
        return frozenset()
    words = weight[-1] // max(scales[-1], 1)  # that share a scale: 16 or 32 numbers of 4 bits, 32 of 8
    if leaf == "weight":
        return _E4M3 if words == 8 else frozenset()
    return _E4M3 if words == 2 else _E8M0


def holds(data: bytes, codes: frozenset[int]) -> bool:
    """Whether one of the bytes is among the codes."""
    return any(code in data for code in codes)
