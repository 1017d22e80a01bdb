"""File descriptors: each connection takes one, and the system says how many a process may have."""

from __future__ import annotations

import contextlib
import resource

_WANTED = 65_536
_LEAST = 1024
_RESERVED = 256
"""For files of the store, logs, sockets of runners, and connections on their way in and out."""


def raise_descriptor_limit() -> None:
    """As many descriptors as the system lets the process have, within reason.

    macOS names no hard limit, and refuses more than `kern.maxfilesperproc`: so less is tried.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    while wanted > soft and wanted >= _LEAST:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return
        wanted //= 2


def connections_that_fit(most: int) -> int:
    """`most`, or how many connections the process has descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, max(soft - _RESERVED, soft // 2))
