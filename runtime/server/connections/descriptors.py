"""The limit on file descriptors, of which each connection takes one."""

from __future__ import annotations

import contextlib
import resource

_WANTED = 65_536
_LEAST = 1024
_RESERVED = 256
"""Descriptors for the store's files, logs, runners' sockets, and connections that are being accepted or closed."""


def raise_descriptor_limit() -> None:
    """Raise the limit on descriptors to what the system allows, up to a maximum.

    macOS reports no hard limit but refuses more than `kern.maxfilesperproc`, so smaller values are tried.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    while wanted > soft and wanted >= _LEAST:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return
        wanted //= 2


def connections_that_fit(most: int) -> int:
    """The number of connections for which the process has descriptors, at most `most`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, max(soft - _RESERVED, soft // 2))
