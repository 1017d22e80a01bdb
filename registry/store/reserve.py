"""Room that is kept on the disk, so that what removes has some when the disk is full. What that is: elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.store.durable import write_all

_LEAST_BYTES = 64 * 1024  # the largest blocks of common file systems


class Reserve:
    """A file of no meaning, which is deleted to make room. It holds random bytes, for some file systems compress."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, size_bytes: int) -> None:
        """Have at least that much in reserve, as far as the disk has it; a disk that refuses is no error."""
        wanted = max(size_bytes, _LEAST_BYTES)
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                missing = wanted - os.fstat(descriptor).st_size
                write_all(descriptor, memoryview(os.urandom(max(missing, 0))))
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Give the room back to the disk; returns whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
