"""What a runner inherits of the server's environment: what computing needs, and nothing that is secret."""

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
    """Of `whole`, the variables that a runner may know.

    MLX compiles kernels into `$TMPDIR` and loads them by predictable names, so that is a folder of this user alone.
    Nothing is ever looked up on the Hub.
    """
    kept = {name: value for name, value in whole.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    private = str(private_folder)
    return kept | {"TMPDIR": private, "HOME": private, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
