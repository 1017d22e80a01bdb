"""Reserves disk space, so that tags can be removed even when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.store.durable import write_all

_LEAST_BYTES = 64 * 1024  # the largest blocks of common file systems


class SpaceReserve:
    """A filler file that is deleted to free space. It holds random bytes, because some filesystems compress."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, size_bytes: int) -> None:
        """Grow the reserve to at least that size, as far as the disk allows; a failure is ignored."""
        wanted = max(size_bytes, _LEAST_BYTES)
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                missing = wanted - os.fstat(descriptor).st_size
                write_all(descriptor, memoryview(os.urandom(max(missing, 0))))
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Delete the reserve; returns whether there was one."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
