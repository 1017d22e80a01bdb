"""Remembers in the home which requests to an artifact are computed together, as found when it was loaded here.

Commands that only show artifacts read it. How it is found: `runtime.engine.core.batching`.
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
    """Save the result for the installed mlx-lm, if the home is writable."""
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
    """The saved result for the installed mlx-lm; None if the artifact was not loaded with it."""
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
