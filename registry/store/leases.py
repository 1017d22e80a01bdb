"""Advisory file locks, which only avoid duplicate work and order updates; correctness comes from atomic renames.

The kernel releases them when their process ends in any way, so no lock is ever stale. `filelock` is not used: it has
no shared lock without a database, and importing it takes longer than a fully cached build.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import StoreReadOnly

_POLL_SECONDS = 0.05
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})

Waiting = Callable[[str], None]
"""A function called once, with a message to display, when a lease is not free at once."""


@contextmanager
def shared(home: Home, waiting: Waiting | None = None, checkpoint: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lease of an ordinary command: no blob is collected until it ends.

    No lease is taken, or needed, on a home that cannot be written to. `checkpoint` is called while waiting, and may
    raise to give up.
    """
    try:
        descriptor = _open(_lease(home))
    except StoreReadOnly:
        yield
        return
    with _held(descriptor, fcntl.LOCK_SH, waiting, "waiting for a garbage collection to finish", checkpoint):
        yield


@contextmanager
def exclusive(home: Home, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lease of garbage collection: no other command runs. Never take it while holding the shared one.

    Raises:
        StoreReadOnly: the home cannot be written to.
    """
    with _held(_open(_lease(home)), fcntl.LOCK_EX, waiting, "waiting for other mlxbuild commands to finish"):
        yield


@contextmanager
def exclusive_file(
    path: Path, waiting: Waiting | None = None, checkpoint: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold a lock file exclusively among threads and processes; the file and its folder are made if missing.

    `checkpoint` is called while waiting, and may raise to give up.

    Raises:
        StoreReadOnly: the file cannot be made.
    """
    with _held(_open(path), fcntl.LOCK_EX, waiting, f"waiting for the lock {path}", checkpoint):
        yield


def _lease(home: Home) -> Path:
    return home.cache / "locks" / "lease"


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with disk_errors(path):
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)


@contextmanager
def _held(
    descriptor: int,
    mode: int,
    waiting: Waiting | None,
    message: str,
    checkpoint: Callable[[], None] | None = None,
) -> Iterator[None]:
    try:
        if not _try(descriptor, mode):
            if waiting is not None:
                waiting(message)
            while not _try(descriptor, mode):
                if checkpoint is not None:
                    checkpoint()
                cancellation.wait(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _try(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # Some network filesystems have no locks: work may then be done twice, with the same result.
    return True
