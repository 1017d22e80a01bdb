"""Referrers in the store: manifests that belong to another one by their `subject`.

A referrer is listed in index.json without a name (OCI image-spec 1.1), so that other tools find it and garbage
collection keeps it exactly as long as its subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.manifest import InvalidManifest, Manifest
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, BlobTooLarge, Store
from mlxbuild.registry.store.tags import Descriptor

EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest whose subject is another manifest."""

    manifest: Manifest

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return self.manifest.blob.digest

    @property
    def artifact_type(self) -> str:
        """The artifact type; the config's media type if it is not set (OCI image-spec, artifactType)."""
        return self.manifest.artifact_type or self.manifest.config.media_type

    @property
    def content(self) -> Blob | None:
        """The blob of its layer, if it has exactly one."""
        return self.manifest.layers[0].blob if len(self.manifest.layers) == 1 else None


def referrers(store: Store, subject: Digest) -> tuple[Referrer, ...]:
    """The referrers of a manifest in the store, in the order of index.json. Damaged ones are left out.

    Raises:
        StoreFailure: index.json cannot be read.
    """
    found = []
    for descriptor in store.tags.unnamed():
        try:
            manifest = manifests.read(store, descriptor.digest)
        except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest):
            continue
        if manifest.subject == subject:
            found.append(Referrer(manifest))
    return tuple(found)


def attach(
    store: Store, subject: Digest, content: bytes, artifact_type: str, annotations: Mapping[str, str]
) -> Referrer:
    """Store some content as a referrer of a manifest, with one layer and the empty config.

    Manifest and layer both have the given type.

    Raises:
        BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest: the subject cannot be read.
        DiskFull, StoreReadOnly, StoreFailure: no referrer was added.
    """
    layer, config = store.put(content), store.put(_EMPTY)
    data = canonical_json.encode(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": _descriptor(EMPTY_CONFIG, config),
            "layers": [_descriptor(artifact_type, layer)],
            "subject": _descriptor(_media_type(store, subject), Blob(subject, store.size(subject))),
            "annotations": dict(annotations),
        }
    )
    return adopt(store, data)


def adopt(store: Store, data: bytes) -> Referrer:
    """Store a manifest unchanged and list it as a referrer; its blobs are in the store already.

    Raises:
        InvalidManifest: it is not a manifest with a subject.
        DiskFull, StoreReadOnly, StoreFailure: it was not listed.
    """
    blob = store.put(data)
    manifest = manifests.read(store, blob.digest)
    if manifest.subject is None:
        raise InvalidManifest("it refers to no other manifest", where=str(blob.digest))
    referrer = Referrer(manifest)
    store.tags.add_unnamed([Descriptor(blob.digest, blob.size_bytes, media_types.OCI_MANIFEST, referrer.artifact_type)])
    return referrer


def _media_type(store: Store, subject: Digest) -> str:
    data = store.read(subject, limit_bytes=manifests.MANIFEST_LIMIT_BYTES)
    found: Any = manifests.json_object(data, str(subject)).get("mediaType")
    return found if isinstance(found, str) else media_types.OCI_MANIFEST


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size_bytes}
