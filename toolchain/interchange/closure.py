"""What travels together: the blobs of an artifact, and the referrers that speak of it. Nothing is moved here."""

from __future__ import annotations

from contextlib import suppress

from registry.artifact import manifest as manifests
from registry.artifact.manifest import InvalidManifest, Manifest
from registry.digest import Blob, Digest
from registry.store.errors import BlobCorrupt, BlobMissing, BlobTooLarge
from registry.store.layout import Store


def blobs_of(manifest: Manifest) -> tuple[Blob, ...]:
    """Files and config, each once, and last the manifest itself: nothing is ever named before it is there."""
    return (*dict.fromkeys(layer.blob for layer in (*manifest.layers, manifest.config)), manifest.blob)


def referrers_of(store: Store, digest: Digest) -> tuple[Manifest, ...]:
    """Signatures, provenance and the like of a manifest, and what speaks of those, as the store lists them.

    An entry whose manifest cannot be read speaks of nothing.
    """
    waiting = [manifest for listed in store.tags.unnamed() if (manifest := _referrer(store, listed.digest)) is not None]
    meant, found = {digest}, dict[Digest, Manifest]()
    while near := [it for it in waiting if it.subject in meant and it.blob.digest not in found]:
        found |= {it.blob.digest: it for it in near}
        meant |= {it.blob.digest for it in near}
    return tuple(found[key] for key in sorted(found))


def _referrer(store: Store, digest: Digest) -> Manifest | None:
    with suppress(BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest):
        manifest = manifests.read(store, digest)
        return manifest if manifest.subject is not None else None
    return None
