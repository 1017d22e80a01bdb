"""The environment variables that a runner inherits from the server: those it needs to compute, and no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_KEPT = (
    "PATH",  # MLX looks for g++ on it
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",  # templates write the date
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_THREAD_TIMEOUT",
)
_KEPT_PREFIXES = ("MLX_", "METAL_")


def least_environment(whole: Mapping[str, str], private_folder: Path) -> dict[str, str]:
    """The variables of `whole` that a runner inherits, with a private `$TMPDIR` and `$HOME` and the Hub switched off.

    MLX compiles kernels into `$TMPDIR` and loads them by predictable names, so no other user may write to that folder.
    """
    kept = {name: value for name, value in whole.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    private = str(private_folder)
    return kept | {"TMPDIR": private, "HOME": private, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
