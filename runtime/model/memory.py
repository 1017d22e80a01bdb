"""How much memory this machine can still give to this process. Who may take how much is decided elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def available_bytes() -> int:
    """Memory that can be taken without swapping, in bytes: of the machine, or of the container if that has less.

    Where the system does not say (macOS), half of all memory.
    """
    limits = [_container_bytes(), _machine_bytes()]
    return min(limit for limit in limits if limit is not None)


def _machine_bytes() -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container_bytes() -> int | None:
    """By control groups, version 2; a limit of `max` is none."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())
        return max(0, limit - int((group / "memory.current").read_text()))
    return None
