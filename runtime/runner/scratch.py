"""Private folders for runners' temporary files, which go from one to the next.

MLX compiles kernels for a Linux CPU with g++ into `$TMPDIR`, which takes about a second, and loads those that it finds
there by their names. So a folder is for one runner at a time, as two would overwrite each other's, and is emptied
unless its last runner ended in good order: it may have been ended while it wrote.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scratch:
    """One folder, locked for as long as this process lives or until it is given back."""

    folder: Path
    _lock: int

    @classmethod
    def take(cls, root: Path) -> Scratch:
        """The first folder below `root` that nobody has.

        Raises:
            OSError: none can be made there.
        """
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in itertools.count():
            lock = os.open(root / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            folder = root / str(number)
            if os.read(lock, 1) != b"+":
                shutil.rmtree(folder, ignore_errors=True)
            os.ftruncate(lock, 0)
            folder.mkdir(mode=0o700, exist_ok=True)
            return cls(folder, lock)
        raise AssertionError("numbers do not end")

    def give_back(self, *, in_order: bool) -> None:
        """Let another have it; what lies in it stays if it is whole."""
        if in_order:
            os.pwrite(self._lock, b"+", 0)
        os.close(self._lock)
