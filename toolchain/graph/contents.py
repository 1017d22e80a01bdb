"""Reads the texts behind the digests in records, as far as they are still on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.sources.file_index import FileIndex

_LONGEST_BYTES = 1 << 20
"""What is longer is told by its digest."""


class Contents:
    """The texts in a store, in source files that this home knows, and in `literals` that are not stored yet."""

    def __init__(self, store: Store, literals: Mapping[str, bytes] | None = None) -> None:
        self._store = store
        self._literals = literals or {}
        self._index = FileIndex(store.home)

    def text(self, value: object) -> str | None:
        """The text whose digest this is; None if it is no digest, no text, too long, or not here any more."""
        content = self._literals.get(str(value))
        if content is None and isinstance(value, str) and value.startswith("sha256:"):
            content = self._read(value)
        if content is None or b"\0" in content:
            return None
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None

    def _read(self, value: str) -> bytes | None:
        try:
            digest = Digest.parse(value)
            if self._store.has(digest):
                return self._store.read(digest) if self._store.size(digest) <= _LONGEST_BYTES else None
            path = next(self._index.paths(digest), None)
            return None if path is None or path.stat().st_size > _LONGEST_BYTES else path.read_bytes()
        except (InvalidDigest, MlxbuildError, OSError):
            return None
