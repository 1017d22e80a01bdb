"""Multiplies numbers by scales and casts the products, and reports whether precision was lost."""

from __future__ import annotations

from typing import Any, Final

import mlx.core as mx

from mlxbuild.toolchain.weights.formats.decoding import Decoded

_MANTISSA: Final = 0x007FFFFF


def cast_product(numbers: mx.array, spread: mx.array, scales: mx.array, dtype: Any) -> Decoded:
    """Low-precision numbers times float32 scales, cast to a dtype. Exact if all scales are powers of two and in range.

    Args:
        numbers: float32 with at most 8 significant bits.
        spread: The scale of each number, in a shape that broadcasts.
        scales: The same scales, each once.
        dtype: An `mx.Dtype`.
    """
    products = numbers * spread
    cast = products.astype(dtype)
    # A power of two has no mantissa; casting back detects underflow.
    whole = mx.all((scales.view(mx.uint32) & _MANTISSA) == 0)
    same = mx.all(cast.astype(mx.float32) / spread == numbers)
    return Decoded(cast, "exact" if mx.logical_and(whole, same).item() else "near")


def cast(values: mx.array, dtype: Any) -> Decoded:
    """float32 values cast to a dtype; exact if every value is representable in it."""
    result = values.astype(dtype)
    return Decoded(result, "exact" if mx.all(result.astype(mx.float32) == values).item() else "near")


def exponents_as_floats(exponents: mx.array) -> mx.array:
    """E8M0 exponents (powers of two with a bias of 127) as floats; 255 is NaN."""
    bits = exponents.astype(mx.uint32)
    # 2^-127 is subnormal: half of 2^-126.
    bits = mx.where(bits == 0, mx.array(0x00400000, dtype=mx.uint32), bits << 23)
    return mx.where(exponents == 255, mx.array(float("nan")), bits.view(mx.float32))
