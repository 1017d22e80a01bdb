"""Remembers the digests of files, so that nothing is hashed twice.

A row is valid while the file's device, inode, size, mtime and ctime are the same as when it was hashed.
A file that was modified less than two seconds before it was hashed could be modified again without its times showing it
(git's "racy" rule), so `known` ignores such a row; `paths` returns it for the process that verified it.
The index is `cache/files.sqlite` in WAL mode and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.sources.errors import FileIndexFailure, SourceChanging, SourceMissing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY,
    stamp TEXT NOT NULL,
    settled INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_by_digest ON file (digest);
"""
_VERSION = 1
_RACY_NANOSECONDS = 2_000_000_000
_BUFFER_BYTES = 1024 * 1024
_ATTEMPTS = 4
"""How often a file is hashed again when its metadata changes meanwhile, as by hard links and new modes."""


class FileIndex:
    """Digests of files on this machine. Safe to use from many threads and processes; instances can be pickled."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._path = home.cache / "files.sqlite"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    def __reduce__(self) -> tuple[type[FileIndex], tuple[Home]]:
        return (FileIndex, (self._home,))

    def known(self, path: Path) -> Blob | None:
        """The digest of a file, if it was hashed before and has certainly not changed since, else None."""
        status = _status(path)
        if status is None or not self._path.exists():
            return None
        rows = self._execute(
            "SELECT digest FROM file WHERE path = ? AND stamp = ? AND settled", str(path), _stamp(status)
        )
        return Blob(Digest.parse(rows[0][0]), status.st_size) if rows else None

    def paths(self, digest: Digest, *, settled: bool = False) -> Iterator[Path]:
        """The known paths of files with a digest; with `settled`, only those that `known` would accept."""
        for path, stamp in self._rows(digest, settled):
            status = _status(path)
            if status is not None and _stamp(status) == stamp:
                yield path

    def touched(self, digest: Digest) -> Iterator[Path]:
        """The paths of files that had a digest when they were hashed, but were touched since and may still have it.

        Adding a hard link or changing mode or owner changes a file's ctime, too.
        """
        for path, stamp in self._rows(digest):
            status = _status(path)
            if status is not None and _stamp(status) != stamp:
                yield path

    def content(
        self,
        path: Path,
        *,
        immutable: bool = False,
        again: bool = False,
        progress: Callable[[int], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> Blob:
        """The digest of a file: remembered, or computed now. Hashing releases the GIL.

        Args:
            immutable: The file is in a content-addressed store where files are never modified: skip the racy rule.
            again: Hash it even if its digest is remembered.
            progress: Called with the size in bytes of each chunk, or of the whole file if its digest is remembered.
            checkpoint: Called between chunks; may raise.

        Raises:
            SourceMissing: the file cannot be read.
            SourceChanging: it was modified meanwhile.
            FileIndexFailure: the index cannot be written.
        """
        remembered = None if again else self.known(path)
        if remembered is not None:
            if progress is not None:
                progress(remembered.size_bytes)
            return remembered
        began = time.time_ns()
        try:
            status, digest = _hash(path, progress, checkpoint)
        except OSError as error:
            raise SourceMissing(f"the file cannot be read: {error.strerror}", where=str(path)) from error
        settled = immutable or max(status.st_mtime_ns, status.st_ctime_ns) < began - _RACY_NANOSECONDS
        self._execute(
            "INSERT OR REPLACE INTO file (path, stamp, settled, digest) VALUES (?, ?, ?, ?)",
            str(path), _stamp(status), settled, str(digest),
        )  # fmt: skip
        return Blob(digest, status.st_size)

    def close(self) -> None:
        """Close the database; the next use reopens it."""
        with self._lock:
            self._drop()

    def _rows(self, digest: Digest, settled: bool = False) -> list[tuple[Path, str]]:
        """Paths and stamps of the files with a digest."""
        if not self._path.exists():
            return []
        rows = self._execute(
            "SELECT path, stamp FROM file WHERE digest = ? AND settled >= ? ORDER BY path", str(digest), settled
        )
        return [(Path(path), stamp) for path, stamp in rows]

    def _execute(self, statement: str, *parameters: object) -> list[Any]:
        """Run one statement on the connection of this process; a damaged database is replaced by an empty one."""
        with self._lock:
            try:
                try:
                    return self._open().execute(statement, parameters).fetchall()
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:
                    self._drop()
                    for suffix in ("", "-wal", "-shm"):
                        Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                    return self._open().execute(statement, parameters).fetchall()
            except (OSError, sqlite3.Error) as error:
                self._drop()
                raise FileIndexFailure(
                    f"the index of verified files cannot be used: {error}",
                    where=str(self._path),
                    hint="check that the folder can be written to and has room; the file itself may be deleted",
                ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():  # SQLite connections do not survive a fork
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            self._process = os.getpid()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            connection.execute("PRAGMA synchronous = OFF")  # a lost row costs hashing again, never correctness
        except BaseException:
            connection.close()
            raise
        return connection


def _hash(
    path: Path, progress: Callable[[int], None] | None, checkpoint: Callable[[], None] | None
) -> tuple[os.stat_result, Digest]:
    """The digest of a file, and its status before and after; hashed again if only its metadata changed meanwhile."""
    with path.open("rb", buffering=0) as file:
        for _ in range(_ATTEMPTS):
            before = os.fstat(file.fileno())
            digest = _hash_open(file, before.st_size, progress, checkpoint)
            after = os.fstat(file.fileno())
            if _stamp(after) == _stamp(before):
                return before, digest
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                break
            file.seek(0)
            progress = None  # its bytes were reported already
    raise SourceChanging("the file was written to while it was read", where=str(path), hint="try again")


def _hash_open(
    file: FileIO, size_bytes: int, progress: Callable[[int], None] | None, checkpoint: Callable[[], None] | None
) -> Digest:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(min(_BUFFER_BYTES, size_bytes + 1)))
    left = size_bytes
    while left >= 0 and (count := file.readinto(buffer)):
        hasher.update(buffer[:count])
        left -= count  # negative if the file grows meanwhile
        if progress is not None:
            progress(count)
        if checkpoint is not None:
            checkpoint()
    return Digest("sha256", hasher.hexdigest())


def _status(path: Path) -> os.stat_result | None:
    with suppress(OSError, ValueError):
        return path.stat()
    return None


def _stamp(status: os.stat_result) -> str:
    return ":".join(map(str, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)))
