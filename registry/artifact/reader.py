"""Opens an artifact of the store: its files, config and annotations. `verification` hashes the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole, in_order
from mlxbuild.registry.artifact.foreign import require_model
from mlxbuild.registry.artifact.manifest import InvalidManifest, Layer, Manifest
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store

_ROLES = {role.media_type: role for role in FileRole}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact: its manifest and config, both verified by digest, and its files by path, role and blob."""

    store: Store
    manifest: Manifest
    files: tuple[ArtifactFile, ...]
    config: Mapping[str, Any]

    @classmethod
    def open(cls, store: Store, digest: Digest) -> Artifact:
        """Open the artifact of a manifest digest. The blobs of its files are not read.

        Raises:
            BlobMissing, BlobCorrupt, BlobTooLarge: manifest or config cannot be read.
            InvalidManifest: it is not a ModelPack artifact of raw layers.
            UnsafePath: a file would be outside the folder, or two files would be the same.
        """
        manifest = manifests.read(store, digest)
        require_model(manifest, str(digest))
        files = tuple(artifact_file(layer) for layer in manifest.layers)
        in_order(files)  # only for its check of paths; the manifest's order is kept
        config_digest = manifest.config.blob.digest
        config = manifests.json_object(store.read(config_digest), str(config_digest))
        for part in ("descriptor", "config"):  # `verification` checks the rest of the schema
            if not isinstance(config.get(part), dict):
                raise InvalidManifest(f"its config has no object `{part}`", where=str(config_digest))
        return cls(store, manifest, files, config)

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return self.manifest.blob.digest

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of the manifest."""
        return self.manifest.annotations

    @property
    def size_bytes(self) -> int:
        """The total size of manifest, config and files, counting each distinct blob once."""
        blobs = {self.manifest.blob, self.manifest.config.blob, *(file.blob for file in self.files)}
        return sum(blob.size_bytes for blob in blobs)

    def file(self, path: str) -> ArtifactFile | None:
        """The file at a path, if the artifact has it."""
        return next((file for file in self.files if file.path == path), None)

    def read(self, path: str) -> bytes:
        """The verified bytes of a small file.

        Raises:
            InvalidManifest: the artifact has no such file.
            BlobMissing, BlobCorrupt, BlobTooLarge: its blob cannot be read.
        """
        file = self.file(path)
        if file is None:
            raise InvalidManifest(f"the artifact has no file `{path}`", where=str(self.digest))
        return self.store.read(file.blob.digest)

    def read_object(self, path: str) -> dict[str, Any]:
        """The JSON object that a small file holds.

        Raises:
            InvalidManifest: the artifact has no such file, or it is not a JSON object.
            BlobMissing, BlobCorrupt, BlobTooLarge: its blob cannot be read.
        """
        return manifests.json_object(self.read(path), path)

    def read_text(self, path: str) -> str:
        """The text of a small file.

        Raises:
            InvalidManifest: the artifact has no such file, or it is not UTF-8.
            BlobMissing, BlobCorrupt, BlobTooLarge: its blob cannot be read.
        """
        try:
            return self.read(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidManifest(f"it is not UTF-8: {error}", where=path) from None


def artifact_file(layer: Layer) -> ArtifactFile:
    """The file that a layer holds.

    Raises:
        InvalidManifest: the layer is not a raw file with a path.
        UnsafePath: the path is refused.
    """
    role = _ROLES.get(layer.media_type)
    if role is None:
        raise InvalidManifest(
            f"a layer of type {layer.media_type} cannot be read",
            where=str(layer.blob.digest),
            hint="only raw weight, weight.config and doc layers can",
        )
    path = layer.annotations.get(media_types.FILE_PATH) or layer.annotations.get(media_types.TITLE)
    if path is None:
        raise InvalidManifest(f"a layer has no {media_types.FILE_PATH}", where=str(layer.blob.digest))
    return ArtifactFile(path.removeprefix("./"), role, layer.blob)  # some tools write `./` before it
