"""A fast matrix library for MLX on Linux CPUs, when the machine has one. Other backends bring their own."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_LIBRARY = "libopenblas.so.0"


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
        ctypes.CDLL(_LIBRARY, mode=ctypes.RTLD_GLOBAL)
        _preferred.append("openblas")
    return bool(_preferred)


def matrix_library() -> str:
    """What multiplies MLX's matrices on the CPU in this process: `openblas`, `accelerate` or `reference`."""
    if sys.platform == "darwin":
        return "accelerate"
    return _preferred[0] if _preferred else "reference"


_preferred: list[str] = []
