"""Where clients of others are installed: folders of the cache, each named by what is pinned and filled once."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

_CACHE = Path(__file__).parent.parent.parent / ".cache" / "clients"


def folder(pinned: bytes, fill: Callable[[Path], None]) -> Path:
    """The folder that `fill` has filled with what is pinned; its own name changes with that."""
    place = _CACHE / hashlib.sha256(pinned).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = place / "installed"
        if not done.exists():
            fill(place)
            done.touch()
    return place


def command(*words: str, within: Path) -> None:
    """Run a package manager or compiler to its end, told in full if it fails."""
    done = subprocess.run(words, cwd=within, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}\n{done.stderr}"
