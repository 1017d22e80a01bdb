"""A fast matrix library for MLX on Linux CPUs, when the machine has one. Other backends bring their own."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_LIBRARY = "libopenblas.so.0"
_WATCHFULNESS = ("OPENBLAS_THREAD_TIMEOUT", "20")
"""For so many cycles, as a power of two, a thread without work asks for it again and again before it sleeps. By default
it is 2 ** 26, so the threads would take their cores from all else as long as answers go on."""


def prefer_openblas() -> bool:
    """Have MLX multiply matrices by OpenBLAS in this process; true if it will.

    MLX's Linux wheels bring the reference BLAS, whose large products take tens of times as long. Symbols that are
    global when MLX is loaded come before those, so this must be called before anything imports `mlx.core`; later it
    changes nothing. Sums are added up in another order then, so figures differ in their last digits; no step that makes
    bytes of an artifact multiplies matrices.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return False
    with suppress(OSError):
        os.environ.setdefault(*_WATCHFULNESS)
        ctypes.CDLL(_LIBRARY, mode=ctypes.RTLD_GLOBAL)
        _preferred.append("openblas")
    return bool(_preferred)


def matrix_library() -> str:
    """What multiplies MLX's matrices on the CPU in this process: `openblas`, `accelerate` or `reference`."""
    if sys.platform == "darwin":
        return "accelerate"
    return _preferred[0] if _preferred else "reference"


_preferred: list[str] = []
