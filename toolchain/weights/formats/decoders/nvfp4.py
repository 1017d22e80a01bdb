"""Decodes NVFP4 weights: the scale of the whole tensor folded into those of the groups, or everything as floats.

A folded scale that had to be rounded, by up to a half where it is near the smallest of E4M3, would pull all of its
numbers along. So each of these goes to the E2M1 number that is nearest under the folded scale, and of the scales beside
the product that one is taken under which a group loses least. A product that E4M3 holds stays as it is, with its
numbers.

What is compared and told is the same on every machine: products and sums are of float64, one operation at a time, and
sums over many groups are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlxbuild.registry.core.errors import StepError
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.encoding import check_finite
from mlxbuild.toolchain.weights.formats.decoders.floats import cast
from mlxbuild.toolchain.weights.formats.decoding import Decoded, Loss, Parts

_LARGEST = 448.0
"""Of E4M3."""
_LARGEST_CODE = 0x7E
_NUMBERS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
"""Of E2M1, by code without the sign."""
_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""Between them."""
_STEPS = np.array([0, *(sign * step for step in range(1, 5) for sign in (-1, 1))])
"""Which numbers of E4M3 beside the nearest one are tried as a scale."""
_BYTES = np.arange(256, dtype=np.uint8)
_ONES = np.array([1], dtype="<u8") << (np.arange(8, dtype="<u8") * np.uint64(8))
"""A one in the byte of each code."""


class UnusableScale(StepError):
    """A scale that no quantizer writes."""

    code = "unusable-scale"


def rows_of_weight(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """E2M1 numbers, eight a word, for the folded scales. Parameter as below."""
    stored = np.array(parts.rows("weight", begin, end))
    folded = _folded(tensor, parts, begin, end)
    found = folded.pairs[folded.chosen[..., None], stored.reshape(*folded.chosen.shape, 8)].reshape(stored.shape)
    is_same = np.array_equal(found, stored)
    return Decoded(mx.array(found).view(mx.uint32), "exact" if is_same else "rounded", folded.loss)


def rows_of_scales(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Scales times the tensor's own one, as E4M3: exact where each product is such a number, else rounded to one.

    Parameter: `divides`, whether the tensor's scale divides.
    """
    folded = _folded(tensor, parts, begin, end)
    return Decoded(mx.array(folded.scales[folded.chosen]), "exact" if folded.is_exact else "rounded")


def rows_as_floats(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> Decoded:
    """Every number by both of its scales, in float32, then cast. Parameter as above."""
    words = parts.rows("weight", begin, end).view(mx.uint32)
    ones = mx.full((end - begin, tensor.shape[-1] // 16), 0x38, dtype=mx.uint8)  # 1 as E4M3
    numbers = mx.dequantize(words, ones, group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
    return cast(
        numbers * mx.repeat(_products(tensor, parts, parts.rows("scale", begin, end)), 16, axis=1),
        MLX_DTYPES[tensor.dtype],
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    """What each group of some rows chose of the ways to fold a scale. There are few, as E4M3 has few numbers."""

    chosen: Any
    """The way, (rows, groups)."""
    scales: Any
    """uint8, E4M3, (ways,)."""
    pairs: Any
    """uint8: what a byte with two numbers becomes, (ways, 256)."""
    is_exact: bool
    """Whether every scale is the product that it stands for."""
    loss: Loss


def _folded(tensor: DecodedTensor, parts: Parts, begin: int, end: int) -> _Folded:
    stored = np.array(parts.rows("scale", begin, end))
    distinct = np.flatnonzero(np.bincount(stored.ravel(), minlength=256)).astype(np.uint8)
    products = np.array(_products(tensor, parts, mx.array(distinct)), dtype=np.float64)
    nearest = np.array(mx.to_fp8(mx.array(np.clip(products, -_LARGEST, _LARGEST).astype(np.float32))))
    beside = (nearest & 0x7F).astype(np.int16)[:, None] + _STEPS
    scales = (np.clip(beside, 0, _LARGEST_CODE).astype(np.uint8) | nearest[:, None] & 0x80).reshape(-1)
    meant = np.repeat(products, len(_STEPS))
    table, errors = _rounded(scales, np.abs(meant))

    place = np.zeros(256, dtype=np.intp)
    place[distinct] = np.arange(len(distinct)) * len(_STEPS)
    ways = place[stored]
    counts = _counts(np.array(parts.rows("weight", begin, end)).reshape(*stored.shape, 8))
    best, chosen = np.full(stored.shape, np.inf), ways
    for step in range(len(_STEPS)):
        error = np.zeros(stored.shape)
        for code in range(1, len(_NUMBERS)):
            error += counts[..., code] * errors[ways + step, code]
        chosen, best = np.where(error < best, ways + step, chosen), np.minimum(error, best)

    taken = np.flatnonzero(np.bincount(chosen.ravel(), minlength=len(scales)))
    is_exact = bool((_as_numbers(scales)[taken] == meant[taken]).all())
    squares = (_NUMBERS * meant[:, None]) ** 2
    return _Folded(
        chosen, scales, _pairs(table), is_exact, Loss(_sum(chosen, counts, errors), _sum(chosen, counts, squares))
    )


def _rounded(scales: Any, sizes: Any) -> tuple[Any, Any]:
    """What each number becomes under each of some scales, and the square of its error; (ways, codes).

    Args:
        scales: uint8, E4M3, (ways,).
        sizes: What they should be, without their sign.
    """
    taken = np.abs(_as_numbers(scales))[:, None]
    meant = _NUMBERS * sizes[:, None]
    table = np.zeros(meant.shape, dtype=np.uint8)
    for middle in _MIDDLES:
        table += meant > middle * taken
    return table, (_NUMBERS[table] * taken - meant) ** 2


def _counts(stored: Any) -> Any:
    """How often each code is in a group, signs aside: (..., 8) of uint8, from groups of 8 bytes with two each."""
    both = _ONES[_BYTES & 7] + _ONES[_BYTES >> 4 & 7]
    counts = both[stored[..., 0]]
    for each in range(1, stored.shape[-1]):
        counts += both[stored[..., each]]
    return counts.view(np.uint8).reshape(*counts.shape, 8)


def _pairs(table: Any) -> Any:
    low, high = table[:, _BYTES & 7], table[:, _BYTES >> 4 & 7]
    return _BYTES & 0x88 | low | high << 4


def _sum(chosen: Any, counts: Any, values: Any) -> float:
    """The exact sum over all numbers of what their way and code are worth."""
    total = []
    for code in range(len(_NUMBERS)):
        times = np.bincount(chosen.ravel(), weights=counts[..., code].ravel(), minlength=len(values))
        total += (times * values[:, code]).tolist()
    return math.fsum(total)


def _as_numbers(scales: Any) -> Any:
    return np.array(mx.from_fp8(mx.array(scales), dtype=mx.float32), dtype=np.float64)


def _products(tensor: DecodedTensor, parts: Parts, stored: mx.array) -> mx.array:
    """Some scales, as E4M3, times the scale of the whole tensor."""
    scales = mx.from_fp8(stored, dtype=mx.float32)
    whole = parts.whole("whole").astype(mx.float32).reshape(())
    if not mx.all(whole > 0).item() and mx.all(mx.isfinite(whole)).item():
        raise UnusableScale(
            f"`{tensor.parts['whole'].name}` is {whole.item()}, and a scale of a whole tensor is above zero",
            hint="the source is damaged: get it again, or ask its publisher",
        )
    products = scales / whole if tensor.parameters["divides"] else scales * whole
    check_finite(products)
    return products
