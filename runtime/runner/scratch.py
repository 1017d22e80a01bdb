"""Private folders for the temporary files of runners, which are reused by later runners.

MLX compiles kernels for a Linux CPU with g++ into `$TMPDIR`, which takes about a second, and loads by name those that
it finds there. So only one runner at a time uses a folder, as two would overwrite each other's files, and the folder is
emptied unless its last runner ended cleanly, as that may have been killed while it wrote.
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
    """A folder that is locked until it is given back or this process ends."""

    folder: Path
    _lock: int

    @classmethod
    def take(cls, root: Path) -> Scratch:
        """Lock the first free folder below `root`.

        Raises:
            OSError: no folder can be created there.
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
        """Release the folder; its files are kept for the next runner if this one ended in order."""
        if in_order:
            os.pwrite(self._lock, b"+", 0)
        os.close(self._lock)
