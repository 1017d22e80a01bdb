"""Decodes NVFP4 weights: the scale of the whole tensor folded into those of the groups, or everything as floats.

A folded scale that had to be rounded, by up to a half where it is near the smallest of E4M3, would pull all of its
numbers along. So each of these goes to the E2M1 number that is nearest under the folded scale; under one that is exact
it is the same as before.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from registry.errors import StepError
from toolchain.weights.decoded import DecodedTensor
from toolchain.weights.dtypes import MLX_DTYPES
from toolchain.weights.encoding import check_finite
from toolchain.weights.formats.decoders.bits import unpacked
from toolchain.weights.formats.decoders.floats import cast
from toolchain.weights.formats.decoding import Decoded, Loss, Parts

_LARGEST = 448.0
"""Of E4M3."""
_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""Between the numbers of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4 and 6."""


class UnusableScale(StepError):
    """A scale that no quantizer writes."""

    code = "unusable-scale"


def rows_of_weight(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """E2M1 numbers, eight a word, for the folded scales. Parameter as below."""
    words = parts.rows("weight", begin, end).view(mx.uint32)
    products, folded = _folded(tensor, parts, begin, end)
    if mx.array_equal(folded, products).item():
        numbers = mx.dequantize(words, mx.to_fp8(products), group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
        return Decoded(words, loss=Loss(0.0, _squares(numbers)))
    codes = unpacked(words, 4).astype(mx.uint8).reshape(*products.shape, 16)
    ratios = mx.where(folded == 0, mx.array(0.0), products / mx.where(folded == 0, mx.array(1.0), folded))
    wanted = mx.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[codes & 7] * ratios[..., None]
    nearest = sum((wanted > middle).astype(mx.uint8) for middle in _MIDDLES)
    found = ((codes & 8) | nearest).astype(mx.uint32).reshape(end - begin, -1, 8)
    packed = (found << (mx.arange(8, dtype=mx.uint32) * 4)).sum(axis=-1).astype(mx.uint32)
    meant = mx.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    numbers = meant[codes & 7] * products[..., None]
    errors = meant[nearest] * folded[..., None] - numbers
    loss = Loss(_squares(errors), _squares(numbers))
    return Decoded(packed, "exact" if mx.array_equal(packed, words).item() else "rounded", loss)


def rows_of_scales(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Scales times the tensor's own one, as E4M3: exact where each product is such a number, else rounded to one.

    Parameter: `divides`, whether the tensor's scale divides.
    """
    products, folded = _folded(tensor, parts, begin, end)
    return Decoded(mx.to_fp8(folded), "exact" if mx.array_equal(folded, products).item() else "rounded")


def rows_as_floats(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Every number by both of its scales, in float32, then cast. Parameter as above."""
    words = parts.rows("weight", begin, end).view(mx.uint32)
    ones = mx.full((end - begin, tensor.shape[-1] // 16), 0x38, dtype=mx.uint8)  # 1 as E4M3
    numbers = mx.dequantize(words, ones, group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
    return cast(numbers * mx.repeat(_scales(tensor, parts, begin, end), 16, axis=1), MLX_DTYPES[tensor.dtype])


def _folded(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> tuple[mx.array, mx.array]:
    """The products of both scales, and the numbers of E4M3 that are nearest to them."""
    products = _scales(tensor, parts, begin, end)
    return products, mx.from_fp8(mx.to_fp8(mx.clip(products, -_LARGEST, _LARGEST)), dtype=mx.float32)


def _squares(values: mx.array) -> float:
    return float(np.square(np.array(values, dtype=np.float64)).sum())


def _scales(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> mx.array:
    scales = mx.from_fp8(parts.rows("scale", begin, end), dtype=mx.float32)
    whole = parts.whole("whole").astype(mx.float32).reshape(())
    if not mx.all(whole > 0).item() and mx.all(mx.isfinite(whole)).item():
        raise UnusableScale(
            f"`{tensor.parts['whole'].name}` is {whole.item()}, and a scale of a whole tensor is above zero",
            hint="the source is damaged: get it again, or ask its publisher",
        )
    products = scales / whole if tensor.parameters["divides"] else scales * whole
    check_finite(products)
    return products
