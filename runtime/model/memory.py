"""How much memory this machine can still give to this process, and how to recognize a lack of it.

Budgets are decided elsewhere.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.core.errors import EnvironmentFailure
from mlxbuild.registry.core.quantities import format_bytes

_SIGNS = ("unable to allocate", "bad_alloc", "insufficient memory", "attempting to allocate", "out of memory")
"""Parts of the error messages of MLX's backends."""


class OutOfMemory(EnvironmentFailure):
    """There is not enough memory for a model."""

    code = "out-of-memory"


def available_bytes() -> int:
    """Memory that is available without swapping, in bytes, on the machine or within the limits of this process.

    If the system does not tell (macOS), half of all memory.
    """
    limit = bounded_bytes()
    return _machine_bytes() if limit is None else min(limit, _machine_bytes())


def bounded_bytes() -> int | None:
    """Bytes left by the limits of the container and of this process, a hard bound. None without a limit."""
    limits = [limit for limit in (_container_bytes(), _address_space_bytes()) if limit is not None]
    return min(limits, default=None)


def require_bytes(size_bytes: int, what: str) -> None:
    """Raise if an allocation is certain to fail.

    Raises:
        OutOfMemory: the limits leave less than that.
    """
    limit = bounded_bytes()
    if limit is not None and limit < size_bytes:
        raise OutOfMemory(f"{what} {format_bytes(size_bytes)} of memory, and the limits leave {format_bytes(limit)}")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of MLX or Python means that an allocation failed."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


def _machine_bytes() -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container_bytes() -> int | None:
    """Left by control groups, version 2; `max` means no limit."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):
        limit = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
        amounts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        read_files = int(amounts["active_file"]) + int(amounts["inactive_file"])  # freed when memory is needed
        return max(0, limit - taken + read_files)
    return None


def _address_space_bytes() -> int | None:
    """Left by `ulimit -v`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    taken = 0
    with suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return max(0, limit - taken)
