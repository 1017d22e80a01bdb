"""Lists the blobs of an artifact and its referrers, which are copied together."""

from __future__ import annotations

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.referrers import referrers
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store


def blobs_of(manifest: Manifest) -> tuple[Blob, ...]:
    """Files and config, each once, and the manifest last, so that it never refers to blobs that are not there yet."""
    return (*dict.fromkeys(layer.blob for layer in (*manifest.layers, manifest.config)), manifest.blob)


def referrers_of(store: Store, digest: Digest) -> tuple[Manifest, ...]:
    """Signatures, provenance and other referrers of a manifest, and their own referrers, sorted by digest.

    Unreadable referrers have no referrers of their own.
    """
    found: dict[Digest, Manifest] = {}
    subjects = [digest]
    while subjects:
        near = {each.digest: each.manifest for each in referrers(store, subjects.pop())}
        subjects += near.keys() - found.keys()
        found |= near
    return tuple(found[key] for key in sorted(found))
