"""What travels together: the blobs of an artifact, and the referrers that speak of it. Nothing is moved here."""

from __future__ import annotations

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.referrers import referrers
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store


def blobs_of(manifest: Manifest) -> tuple[Blob, ...]:
    """Files and config, each once, and last the manifest itself: nothing is ever named before it is there."""
    return (*dict.fromkeys(layer.blob for layer in (*manifest.layers, manifest.config)), manifest.blob)


def referrers_of(store: Store, digest: Digest) -> tuple[Manifest, ...]:
    """Signatures, provenance and the like of a manifest, and what speaks of those, sorted by digest.

    Those that cannot be read speak of nothing.
    """
    found: dict[Digest, Manifest] = {}
    subjects = [digest]
    while subjects:
        near = {each.digest: each.manifest for each in referrers(store, subjects.pop())}
        subjects += near.keys() - found.keys()
        found |= near
    return tuple(found[key] for key in sorted(found))
