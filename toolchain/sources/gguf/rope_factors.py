"""Converts rotary frequency factors that a GGUF file holds as tensors to config.json.

llama.cpp's converter writes the factors that Llama 3.1's formula gives for each frequency, not the formula's
parameters. They are recovered by trying those of published models; factors that match none of them are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

LLAMA_FACTORS: Final = "rope_freqs.weight"
"""The tensor with a float32 factor for each pair of dimensions in a head."""

LONG_FACTORS: Final = "rope_factors_long.weight"
SHORT_FACTORS: Final = "rope_factors_short.weight"
"""The tensors of LongRoPE, whose factors are copied to config.json."""

_LOW, _HIGH = 1.0, 4.0
_CONTEXTS = (8192, 4096, 2048, 16384, 32768, 65536, 131072)
_TOLERANCE = 4e-6
"""Relative error that computing in float32, as converters did, may cause."""


def llama3_scaling(factors: Sequence[float], base: float, head_size: int) -> dict[str, Any] | None:
    """The `rope_scaling` entry that gives these factors.

    Source of the formula: `_compute_llama3_parameters` of transformers' `modeling_rope_utils.py`.

    Args:
        factors: One for each rotated pair, highest frequency first.
        base: The base of the rotary frequencies.
        head_size: Size of an attention head.

    Raises:
        ValueError: no known parameters give these factors.
    """
    given = np.asarray(factors, np.float64)
    if given.shape != (head_size // 2,) or not np.all(np.isfinite(given)):
        raise ValueError(f"{given.size} factors for heads of {head_size} numbers")
    if np.all(given == 1.0):
        return None
    factor = float(str(np.float32(given[-1])))
    for context in _CONTEXTS:
        if factor > 1.0 and np.allclose(given, _factors(factor, context, base, head_size), rtol=_TOLERANCE, atol=0.0):
            return {
                "type": "llama3",
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": _LOW,
                "high_freq_factor": _HIGH,
                "original_max_position_embeddings": context,
            }
    raise ValueError("no known parameters of Llama 3's scaling give these factors")


def shortest(factors: Sequence[float], count: int) -> list[float]:
    """Factors as config.json lists them: the shortest decimals with the same float32 value.

    Raises:
        ValueError: there are not `count` of them, or one is not a positive finite number.
    """
    if len(factors) != count or not all(np.isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError(f"{len(factors)} factors for {count} pairs of numbers in a head")
    return [float(str(np.float32(factor))) for factor in factors]


def _factors(factor: float, context: int, base: float, head_size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    wavelengths = 2 * np.pi * base ** (np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    smooth = (context / wavelengths - _LOW) / (_HIGH - _LOW)
    between = 1.0 / ((1.0 - smooth) / factor + smooth)
    result = np.where(wavelengths > context / _LOW, factor, between)
    return np.where(wavelengths < context / _HIGH, 1.0, result)
