"""What `create` makes of a folder is made once: later tests copy it, recipe, lock and home, as if they had built it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry.home import Home

LOCK = "ModelSpec.lock"


@dataclass(frozen=True)
class Builds:
    """Those of this process, below a folder: by the contents of the recipe's folder."""

    place: Path

    def of(self, folder: Path, home: Home, create: Callable[[], str]) -> str:
        """Have a new home hold what `create` makes of a folder that needs nothing else; what `create` prints."""
        if home.root.exists() or "base: {path: model}\n" not in (folder / "ModelSpec.yaml").read_text():
            return create()
        kept = self.place / _contents(folder)
        if not kept.exists():
            told = create()
            shutil.copytree(home.root, kept / "home", symlinks=True)
            shutil.copy2(folder / LOCK, kept / LOCK)
            (kept / "told").write_text(told)
            return told
        shutil.copytree(kept / "home", home.root, symlinks=True)
        shutil.copy2(kept / LOCK, folder / LOCK)
        return (kept / "told").read_text()


def _contents(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = [(path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).digest()) for path in files]
    return hashlib.sha256(repr(digests).encode()).hexdigest()
