"""Writes files so that they survive a crash, and turns `OSError`s into errors of the store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlxbuild.registry.store.errors import DiskFull, StoreFailure, StoreReadOnly

FREE_SOME_SPACE = "free some space and try again: `mlxbuild rm` and `mlxbuild gc` work on a full disk, too"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` from work on `path` into an error that a person can act on.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: in place of the `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path | str) -> StoreFailure:
    reason = error.strerror or str(error)
    where = str(path)
    if error.errno in _FULL:
        return DiskFull(
            f"the disk is full: {reason}",
            where=where,
            hint=FREE_SOME_SPACE,
        )
    if error.errno in _READ_ONLY:
        return StoreReadOnly(
            f"the store cannot be {'written to' if error.errno == errno.EROFS else 'used'}: {reason}",
            where=where,
            hint="check the mount, the owner and the mode of the folder, or choose another home with MLXBUILD_HOME",
        )
    if error.errno in _IN_THE_WAY:
        return StoreFailure(
            f"something else is in the place of a file or folder of the store: {reason}",
            where=where,
            hint="move it away, or choose another home with MLXBUILD_HOME",
        )
    if error.errno == errno.EXDEV:
        return StoreFailure(
            "the store and its cache are on two filesystems", where=where, hint="keep all of MLXBUILD_HOME on one"
        )
    return StoreFailure(f"the disk refused: {reason}", where=where, hint="check the disk, and try again")


def create_temporary(folder: Path, *, mode: int) -> tuple[int, Path]:
    """Create a file in `folder` (made if missing) and return its descriptor, open for writing, and its path."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    path = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
    try:
        return os.open(path, flags, mode), path
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, mode), path


def write_all(descriptor: int, view: memoryview) -> None:
    """Write every byte of a one-dimensional view of bytes."""
    while view.nbytes:
        view = view[os.write(descriptor, view) :]


def publish(temporary: Path, final: Path, *, durable: bool) -> None:
    """Move a finished file to its final name; with `durable`, the name survives a power cut too."""
    try:
        os.replace(temporary, final)  # noqa: PTH105  # paths stay as they are: this runs once per blob
    except FileNotFoundError:
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, final)  # noqa: PTH105
    if durable:
        sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(final: Path, data: bytes, *, temporary_folder: Path, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a small file atomically: a reader sees the old or the new content, even after a crash.

    Without `durable`, a power cut may lose or empty the file: use it only for content that can be made again.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: the file is unchanged.
    """
    with disk_errors(final):
        descriptor, temporary = create_temporary(temporary_folder, mode=mode)
        try:
            try:
                write_all(descriptor, memoryview(data))
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            publish(temporary, final, durable=durable)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
