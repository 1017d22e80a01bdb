"""What of several requests to an artifact is computed together, as it was found when that was loaded on this machine.

Kept in the home for those who only look at artifacts. How it is found: `runtime.engine.core.batching`.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home


def remember(home: Home, digest: Digest, batched: str) -> None:
    """Keep what was found, for the installed mlx-lm; where nothing can be written, nothing is kept."""
    if recall(home, digest) == batched:
        return
    file = _file(home, digest)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"batched": batched, "mlx-lm": _mlx_lm()}, stream)
        Path(temporary).replace(file)


def recall(home: Home, digest: Digest) -> str | None:
    """What was found with the mlx-lm that is installed now; None where it was not loaded with that."""
    try:
        kept = json.loads(_file(home, digest).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("mlx-lm") != _mlx_lm():
        return None
    batched = kept.get("batched")
    return batched if isinstance(batched, str) else None


def _file(home: Home, digest: Digest) -> Path:
    return home.cache / "batched" / f"{digest.hex}.json"


def _mlx_lm() -> str | None:
    with suppress(PackageNotFoundError):
        return version("mlx-lm")
    return None
