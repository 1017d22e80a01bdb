"""Narrows scales and biases to 16 bits, choosing them together so that the error of a group's numbers is small.

Rounded independently, both would shift all 32 numbers of a group to one side. Here, the nearest scale and its two
neighbours are tried, each with the bias that best preserves the group's mean; the one with the least squared error is
taken. All sums are of integers and the rest is elementwise, so every machine gets the same result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlxbuild.toolchain.weights.formats.gguf_blocks import Groups

_SIZE = 32


def narrowed(groups: Groups, dtype: str) -> tuple[Any, Any]:
    """The bits of the scales and of the biases, as uint16, in F16 or BF16.

    Args:
        groups: Numbers with exact scales and biases.
        dtype: Name of the dtype in a safetensors header.
    """
    numbers = groups.numbers.reshape(*groups.scales.shape, _SIZE).astype(np.int64)
    mean = numbers.sum(-1) / _SIZE
    variance = (numbers * numbers).sum(-1) / _SIZE - mean * mean
    scales, biases = groups.scales.astype(np.float64), groups.biases.astype(np.float64)
    nearest = _bits(scales, dtype)
    best: tuple[Any, Any, Any] | None = None
    with np.errstate(invalid="ignore", over="ignore"):
        for step in (0, 1, -1):
            scale_bits = (nearest.astype(np.int32) + step).astype(np.uint16)
            moved = scales - _values(scale_bits, dtype)
            bias_bits = _bits(biases + mean * moved, dtype)
            shift = biases - _values(bias_bits, dtype) + mean * moved
            error = shift * shift + variance * moved * moved
            if best is None:
                best = (error, scale_bits, bias_bits)
            else:
                better = error < best[0]  # false for NaN
                best = tuple(
                    np.where(better, new, old) for new, old in zip((error, scale_bits, bias_bits), best, strict=True)
                )
    assert best is not None
    return best[1].astype(np.uint16), best[2].astype(np.uint16)


def _bits(values: Any, dtype: str) -> Any:
    """The bits of values rounded to nearest, ties to even."""
    single = values.astype(np.float32)
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return single.astype(np.float16).view(np.uint16)
    wide = single.view(np.uint32)
    return ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)


def _values(bits: Any, dtype: str) -> Any:
    if dtype == "F16":
        return bits.view(np.float16).astype(np.float64)
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
