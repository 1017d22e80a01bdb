"""Finds the blobs of a store that are reachable from names and manifests. `gc` deletes the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from mlxbuild.registry.core import bounded_json
from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.store.layout import MANIFEST_LIMIT_BYTES, BlobCorrupt, BlobMissing, BlobTooLarge, Store
from mlxbuild.registry.store.origins import Origins, bases_of
from mlxbuild.registry.store.tags import REF_NAME


class Reachability:
    """The reachability graph of a store at one moment."""

    def __init__(self, store: Store) -> None:
        """Read every small blob that looks like a manifest, to learn its subject."""
        self._store = store
        self.blobs = {blob.digest: blob for blob in store.blobs()}
        """All blobs of the store."""
        self.manifests: dict[Digest, dict[str, Any]] = {}
        for digest, blob in self.blobs.items():
            if blob.size_bytes <= MANIFEST_LIMIT_BYTES and (document := _manifest(store, digest)) is not None:
                self.manifests[digest] = document

    def needed(self, roots: Iterable[Digest] = ()) -> set[Digest]:
        """The blobs reachable from names and roots, with all their referrers.

        Referrers of their bases are included even if the bases are gone: the signature of a base is required whenever
        a model built from it is used. Unnamed entries that have a subject are not roots.

        Raises:
            StoreFailure: index.json or the origins cannot be read.
        """
        kept = self._with_referrers([*self._named(), *roots])
        bases = bases_of(Origins(self._store.home).read(), kept) - kept
        return kept | self._with_referrers(self._referring_to(bases))

    def _named(self) -> Iterator[Digest]:
        for entry in self._store.tags.entries():
            if (digest := _digest(entry)) is not None:
                annotations = entry.get("annotations")
                has_name = isinstance(annotations, dict) and REF_NAME in annotations
                if has_name or "subject" not in self.manifests.get(digest, {}):
                    yield digest

    def _with_referrers(self, roots: Iterable[Digest]) -> set[Digest]:
        kept: set[Digest] = set()
        queue = [*roots]
        while queue:
            kept |= self.below(queue)
            queue = [digest for digest in self._referring_to(kept) if digest not in kept]
        return kept

    def _referring_to(self, subjects: set[Digest]) -> list[Digest]:
        """The manifests whose subject is one of these."""
        return [digest for digest, document in self.manifests.items() if _digest(document.get("subject")) in subjects]

    def below(self, roots: Iterable[Digest]) -> set[Digest]:
        """The blobs of some digests, and all blobs that they refer to."""
        found: set[Digest] = set()
        queue = [*roots]
        while queue:
            digest = queue.pop()
            if digest not in found and digest in self.blobs:
                found.add(digest)
                queue += _children(self.manifests.get(digest, {}))
        return found

    def size_bytes(self, digests: Iterable[Digest]) -> int:
        """The total size of some blobs of the store."""
        return sum(self.blobs[digest].size_bytes for digest in digests)


def _manifest(store: Store, digest: Digest) -> dict[str, Any] | None:
    """The document of an image manifest or index; None if the blob is not one or cannot be read."""
    try:
        with store.path(digest).open("rb") as file:
            if file.read(1) != b"{":
                return None
        data = store.read(digest, limit_bytes=MANIFEST_LIMIT_BYTES)
        if b'"schemaVersion"' not in data:
            return None
        document = bounded_json.decode(data)
    except (BlobMissing, BlobCorrupt, BlobTooLarge, OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("schemaVersion") == 2 else None


def _children(document: dict[str, Any]) -> Iterator[Digest]:
    listed = [document.get("config")]
    for key in ("layers", "manifests", "blobs"):
        values = document.get(key)
        listed += values if isinstance(values, list) else []
    for value in listed:
        if (digest := _digest(value)) is not None:
            yield digest


def _digest(descriptor: object) -> Digest | None:
    if isinstance(descriptor, dict) and isinstance(descriptor.get("digest"), str):
        with suppress(InvalidDigest):
            return Digest.parse(descriptor["digest"])
    return None
