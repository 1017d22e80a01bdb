"""Selects a fast matrix library for MLX on Linux CPUs, if the machine has one. Other backends have their own."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_LIBRARY = "libopenblas.so.0"
_SPIN_CYCLES = ("OPENBLAS_THREAD_TIMEOUT", "20")
"""How many cycles, as a power of two, an idle thread spins before it sleeps. The default of 2 ** 26 would occupy all
cores between the steps of an answer.
"""


def prefer_openblas() -> bool:
    """Make MLX use OpenBLAS for matrix products in this process; returns whether it will.

    MLX's Linux wheels use the reference BLAS, which is tens of times slower for large products. Global symbols that are
    loaded before MLX take precedence, so this has to be called before anything imports `mlx.core`; later it has no
    effect. Sums are then computed in another order, so the last digits of results differ; no step that writes bytes of
    an artifact multiplies matrices.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return False
    with suppress(OSError):
        os.environ.setdefault(*_SPIN_CYCLES)
        ctypes.CDLL(_LIBRARY, mode=ctypes.RTLD_GLOBAL)
        _preferred.append("openblas")
    return bool(_preferred)


def matrix_library() -> str:
    """The library that multiplies matrices on the CPU in this process: `openblas`, `accelerate` or `reference`."""
    if sys.platform == "darwin":
        return "accelerate"
    return _preferred[0] if _preferred else "reference"


_preferred: list[str] = []
