"""Writes an artifact as an OCI archive, a tar of an image layout with the same bytes on every machine."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import LAYOUT_FILE, LAYOUT_VERSION, Store
from mlxbuild.registry.store.tags import REF_NAME
from mlxbuild.toolchain.interchange.closure import blobs_of, referrers_of

INDEX_FILE = "index.json"
BLOB_FOLDER = "blobs/sha256"
_BUFFER_BYTES = 16 * 1024  # tarfile copies in pieces of this size; larger ones cost more memory copies


@dataclass(frozen=True, slots=True)
class Packed:
    """The contents of a written archive."""

    digest: Digest
    referrers: tuple[Digest, ...]
    blob_bytes: int


def pack(store: Store, digest: Digest, name: str | None, output: BinaryIO, *, with_referrers: bool = True) -> Packed:
    """Write an artifact and its referrers as a tar of an OCI image layout (image-spec 1.1, image-layout).

    Entries are sorted and carry no times, owners or modes of this machine. Every blob is hashed while it is written.

    Args:
        store: The store that holds the artifact.
        digest: Digest of its manifest.
        name: Name of the artifact in the archive, such as `hello:int4-1.0`; None for no name.
        output: Written sequentially; it need not be seekable.
        with_referrers: Include signatures, provenance and other referrers.

    Raises:
        BlobMissing, BlobCorrupt: the artifact is incomplete; the output is unusable.
        InvalidManifest: the digest is not that of a manifest.
        OSError: the output cannot be written.
    """
    artifact = manifests.read(store, digest)
    referrers = referrers_of(store, digest) if with_referrers else ()
    blobs = sorted({blob for manifest in (artifact, *referrers) for blob in blobs_of(manifest)})
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [_descriptor(artifact, name), *(_descriptor(referrer, None) for referrer in referrers)],
    }
    with tarfile.open(mode="w|", fileobj=output, format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES) as tar:
        for folder in ("blobs", BLOB_FOLDER):
            tar.addfile(_entry(folder, 0, tarfile.DIRTYPE))
        for blob in blobs:
            _add_blob(tar, store, blob)
        _add_bytes(tar, INDEX_FILE, canonical_json.encode(index))
        _add_bytes(tar, LAYOUT_FILE, canonical_json.encode({"imageLayoutVersion": LAYOUT_VERSION}))
    return Packed(digest, tuple(it.blob.digest for it in referrers), sum(blob.size_bytes for blob in blobs))


def _descriptor(manifest: Manifest, name: str | None) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": media_types.OCI_MANIFEST,
        "digest": str(manifest.blob.digest),
        "size": manifest.blob.size_bytes,
    }
    if manifest.artifact_type is not None:
        descriptor["artifactType"] = manifest.artifact_type
    if name is not None:
        descriptor["annotations"] = {REF_NAME: name}
    return descriptor


def _entry(path: str, size_bytes: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)  # by default without time and owner
    entry.size, entry.type, entry.mode = size_bytes, kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry


def _add_bytes(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    tar.addfile(_entry(path, len(content), tarfile.REGTYPE), BytesIO(content))


def _add_blob(tar: tarfile.TarFile, store: Store, blob: Blob) -> None:
    path = store.path(blob.digest)
    if (found := store.size(blob.digest)) != blob.size_bytes:
        raise BlobCorrupt(blob.digest, f"{found} bytes lie in the store, not {blob.size_bytes}", where=str(path))
    with path.open("rb", buffering=0) as file:
        reader: Any = _Hashing(file)
        tar.addfile(_entry(f"{BLOB_FOLDER}/{blob.digest.hex}", blob.size_bytes, tarfile.REGTYPE), reader)
    if reader.hexdigest() != blob.digest.hex:
        raise BlobCorrupt(blob.digest, f"the bytes of {blob.digest} are damaged", where=str(path))


class _Hashing:
    """Hashes the data that is read through it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hasher = hashlib.sha256()

    def read(self, size_bytes: int = -1) -> bytes:
        data: bytes = self._file.read(size_bytes)
        self._hasher.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()
