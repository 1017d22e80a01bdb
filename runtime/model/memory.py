"""How much memory this machine can still give to this process, and how a lack of it looks.

Who may take how much is decided elsewhere.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.core.errors import EnvironmentFailure
from mlxbuild.registry.core.quantities import format_bytes

_SIGNS = ("unable to allocate", "bad_alloc", "insufficient memory", "attempting to allocate", "out of memory")
"""In the messages of MLX's backends."""


class OutOfMemory(EnvironmentFailure):
    """The memory that a model needs is not there."""

    code = "out-of-memory"


def available_bytes() -> int:
    """Memory that can be taken without swapping, in bytes: of the machine, or as a limit on this process leaves.

    Where the system does not say (macOS), half of all memory.
    """
    limit = bounded_bytes()
    return _machine_bytes() if limit is None else min(limit, _machine_bytes())


def bounded_bytes() -> int | None:
    """What limits on the container and on this process leave, in bytes; more is never given. None without a limit."""
    limits = [limit for limit in (_container_bytes(), _address_space_bytes()) if limit is not None]
    return min(limits, default=None)


def require_bytes(size_bytes: int, what: str) -> None:
    """Refuse to begin what cannot end well.

    Raises:
        OutOfMemory: the limits leave less than that.
    """
    limit = bounded_bytes()
    if limit is not None and limit < size_bytes:
        raise OutOfMemory(f"{what} {format_bytes(size_bytes)} of memory, and the limits leave {format_bytes(limit)}")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of MLX or Python says that memory could not be had."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


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
    with suppress(OSError, ValueError, KeyError):
        limit = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
        amounts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        read_files = int(amounts["active_file"]) + int(amounts["inactive_file"])  # goes when memory is needed
        return max(0, limit - taken + read_files)
    return None


def _address_space_bytes() -> int | None:
    """By `ulimit -v`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    taken = 0
    with suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return max(0, limit - taken)
