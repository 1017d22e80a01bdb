"""Decodes NVFP4 weights: the per-tensor scale is folded into the group scales, or everything is converted to floats.

If a folded scale had to be rounded, which costs up to a half near the smallest number of E4M3, all of its numbers would
change in proportion. So each number is rounded again to the nearest E2M1 number under the folded scale, and among the
E4M3 scales next to the product, the one with the smallest error in the group is taken. A product that E4M3 represents
exactly is kept, with its numbers.

Results are the same on every machine: products and sums are in float64, one operation at a time, and sums over many
groups are exact.
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
from mlxbuild.toolchain.weights.formats.decoding import Decoded, RoundingError, TensorParts

_LARGEST = 448.0
"""The largest number of E4M3."""
_LARGEST_CODE = 0x7E
_NUMBERS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
"""The numbers of E2M1 by code, without the sign."""
_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""The midpoints between adjacent numbers."""
_STEPS = np.array([0, *(sign * step for step in range(1, 5) for sign in (-1, 1))])
"""Which E4M3 numbers next to the nearest one are tried as a scale."""
_BYTES = np.arange(256, dtype=np.uint8)
_ONES = np.array([1], dtype="<u8") << (np.arange(8, dtype="<u8") * np.uint64(8))
"""A one in the byte that counts each code."""


class UnusableScale(StepError):
    """A scale has a value that no quantizer writes."""

    code = "unusable-scale"


def rows_of_weight(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """E2M1 numbers, eight per word, for the folded scales. Parameter as for `rows_of_scales`."""
    stored = np.array(parts.rows("weight", begin, end))
    folded = _folded(tensor, parts, begin, end)
    found = folded.pairs[folded.chosen[..., None], stored.reshape(*folded.chosen.shape, 8)].reshape(stored.shape)
    is_same = np.array_equal(found, stored)
    return Decoded(mx.array(found).view(mx.uint32), "exact" if is_same else "rounded", folded.loss)


def rows_of_scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Group scales times the per-tensor scale, as E4M3: exact if each product is representable, else rounded.

    Parameter: `divides`, whether to divide by the per-tensor scale instead.
    """
    folded = _folded(tensor, parts, begin, end)
    return Decoded(mx.array(folded.scales[folded.chosen]), "exact" if folded.is_exact else "rounded")


def rows_as_floats(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Every number times both of its scales, in float32, then cast. Parameter as for `rows_of_scales`."""
    words = parts.rows("weight", begin, end).view(mx.uint32)
    ones = mx.full((end - begin, tensor.shape[-1] // 16), 0x38, dtype=mx.uint8)  # 1.0 in E4M3
    numbers = mx.dequantize(words, ones, group_size=16, bits=4, mode="nvfp4", dtype=mx.float32)
    return cast(
        numbers * mx.repeat(_products(tensor, parts, parts.rows("scale", begin, end)), 16, axis=1),
        MLX_DTYPES[tensor.dtype],
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    """The chosen way to fold the scale of each group in some rows; E4M3 has few numbers, so there are few ways."""

    chosen: Any
    """The index of the way, of shape (rows, groups)."""
    scales: Any
    """The folded scale of each way, E4M3 as uint8, of shape (ways,)."""
    pairs: Any
    """The new value of each byte with two numbers, as uint8, of shape (ways, 256)."""
    is_exact: bool
    """Whether every folded scale equals its product."""
    loss: RoundingError


def _folded(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> _Folded:
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
        chosen,
        scales,
        _pairs(table),
        is_exact,
        RoundingError(_sum(chosen, counts, errors), _sum(chosen, counts, squares)),
    )


def _rounded(scales: Any, sizes: Any) -> tuple[Any, Any]:
    """The new code of each number for each scale, and its squared error; both of shape (ways, codes).

    Args:
        scales: E4M3 as uint8, of shape (ways,).
        sizes: The magnitudes that the numbers should have.
    """
    taken = np.abs(_as_numbers(scales))[:, None]
    meant = _NUMBERS * sizes[:, None]
    table = np.zeros(meant.shape, dtype=np.uint8)
    for middle in _MIDDLES:
        table += meant > middle * taken
    return table, (_NUMBERS[table] * taken - meant) ** 2


def _counts(stored: Any) -> Any:
    """The count of each code in a group, ignoring signs: (..., 8) of uint8, from groups of 8 bytes with two each."""
    both = _ONES[_BYTES & 7] + _ONES[_BYTES >> 4 & 7]
    counts = both[stored[..., 0]]
    for each in range(1, stored.shape[-1]):
        counts += both[stored[..., each]]
    return counts.view(np.uint8).reshape(*counts.shape, 8)


def _pairs(table: Any) -> Any:
    low, high = table[:, _BYTES & 7], table[:, _BYTES >> 4 & 7]
    return _BYTES & 0x88 | low | high << 4


def _sum(chosen: Any, counts: Any, values: Any) -> float:
    """The exact sum, over all numbers, of the value for their way and code."""
    total = []
    for code in range(len(_NUMBERS)):
        times = np.bincount(chosen.ravel(), weights=counts[..., code].ravel(), minlength=len(values))
        total += (times * values[:, code]).tolist()
    return math.fsum(total)


def _as_numbers(scales: Any) -> Any:
    return np.array(mx.from_fp8(mx.array(scales), dtype=mx.float32), dtype=np.float64)


def _products(tensor: DecodedTensor, parts: TensorParts, stored: mx.array) -> mx.array:
    """Some scales in E4M3 times the per-tensor scale."""
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
