"""Records the current and the previous key of each node, which `why` compares.

The index is `cache/index.sqlite` in WAL mode. Losing it loses explanations, never results: it can be
rebuilt from the run reports.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (
    label TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    previous TEXT,
    seconds REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recipe (digest TEXT PRIMARY KEY, path TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
_VERSION = 2
_MANY = 500


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What earlier runs recorded about a node."""

    key: Digest
    previous: Digest | None
    """The last key that differed from `key`."""
    seconds: float


class History:
    """The keys that nodes had in earlier runs, kept in an SQLite index."""

    def __init__(self, home: Home) -> None:
        self._path = home.cache / "index.sqlite"

    def of(self, labels: Iterable[str]) -> Mapping[str, NodeHistory]:
        """The histories of some nodes; nodes without one are left out."""
        wanted = set(labels)
        query = "SELECT label, key, previous, seconds FROM node"
        if len(wanted) > _MANY:
            rows = self._read(query)
        else:
            rows = self._read(f"{query} WHERE label IN ({','.join('?' * len(wanted))})", *wanted)
        return {
            label: NodeHistory(Digest.parse(key), Digest.parse(previous) if previous else None, seconds)
            for label, key, previous, seconds in rows
            if label in wanted
        }

    def labels(self, prefix: str) -> tuple[str, ...]:
        """All known node labels with a prefix, sorted."""
        query = "SELECT label FROM node WHERE substr(label, 1, ?) = ? ORDER BY label"
        return tuple(label for (label,) in self._read(query, len(prefix), prefix))

    def recipe_of(self, digest: Digest) -> Path | None:
        """Path of the recipe of an artifact that was built here, or None."""
        rows = self._read("SELECT path FROM recipe WHERE digest = ?", str(digest))
        return Path(rows[0][0]) if rows else None

    def record(self, keys: Mapping[str, tuple[Digest, float]]) -> bool:
        """Record the key and duration in seconds of each node of a run; a changed key moves the old one to `previous`.

        Returns:
            Whether it could be written; a build never fails because of its history.
        """
        return self._write(
            "INSERT INTO node (label, key, previous, seconds) VALUES (?, ?, NULL, ?) "
            "ON CONFLICT (label) DO UPDATE SET "
            "previous = CASE WHEN node.key = excluded.key THEN node.previous ELSE node.key END, "
            "seconds = CASE WHEN excluded.seconds > 0 THEN excluded.seconds ELSE node.seconds END, "
            "key = excluded.key",
            [(label, str(key), seconds) for label, (key, seconds) in keys.items()],
        )

    def remember_recipes(self, recipes: Mapping[Digest, Path]) -> bool:
        """Record where the recipes of built artifacts lie on this machine; returns whether it could be written."""
        return self._write(
            "INSERT OR REPLACE INTO recipe (digest, path) VALUES (?, ?)",
            [(str(digest), str(path)) for digest, path in recipes.items()],
        )

    def _read(self, query: str, *parameters: object) -> list[Any]:
        """The rows of a query; empty if the index is missing, damaged or cannot be opened."""
        if not self._path.exists():
            return []
        try:
            with self._connect() as connection:
                return connection.execute(query, parameters).fetchall()
        except sqlite3.Error:
            return []

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> bool:
        if not rows:
            return True
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._connect() as connection:
                    connection.executemany(statement, rows)
            except (OSError, sqlite3.OperationalError):
                return False
            except sqlite3.DatabaseError:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            else:
                return True
        return False

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                yield connection
        finally:
            connection.close()
