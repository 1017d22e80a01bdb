"""Validates an untrusted manifest before anything that it refers to is fetched."""

from __future__ import annotations

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.files import in_order
from mlxbuild.registry.artifact.foreign import require_model
from mlxbuild.registry.artifact.manifest import InvalidManifest, Manifest
from mlxbuild.registry.artifact.reader import artifact_file
from mlxbuild.registry.artifact.verification import Problem
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.oci.remote.client import RawManifest

CONFIG_LIMIT_BYTES = manifests.MANIFEST_LIMIT_BYTES
_MOST_LISTED = 10


class BrokenPromises(TrustError):
    """An artifact does not match its own manifest and config."""

    code = "broken-promises"


def admit_artifact(raw: RawManifest, where: str) -> Manifest:
    """Parse a manifest and check that it is a model that can be pulled.

    Raises:
        InvalidManifest: it is not a model, gives a blob two sizes, or has a layer that cannot be read.
        UnsafePath: a file would be outside the folder, or two files would be the same.
    """
    manifest = admit_manifest(raw, where)
    require_model(manifest, where)
    if manifest.config.blob.size_bytes > CONFIG_LIMIT_BYTES:
        raise InvalidManifest(f"its config has {manifest.config.blob.size_bytes} bytes", where=where)
    if not manifest.layers:
        raise InvalidManifest("it has no files", where=where)
    in_order(artifact_file(layer) for layer in manifest.layers)
    return manifest


def admit_manifest(raw: RawManifest, where: str) -> Manifest:
    """Parse a manifest and check that its descriptors agree with each other.

    Raises:
        InvalidManifest: it is not a manifest, or gives a blob two sizes.
    """
    manifest = manifests.parse(raw.data, raw.digest)
    if raw.media_type in media_types.INDEXES:  # a client that reads it as an index would see other content
        raise InvalidManifest(f"it is sent as {raw.media_type}, and is not an index", where=where)
    sizes: dict[Digest, Blob] = {raw.digest: Blob(raw.digest, len(raw.data))}
    for layer in (manifest.config, *manifest.layers):
        if layer.blob.digest.algorithm != "sha256":
            raise InvalidManifest(f"a blob is named by {layer.blob.digest.algorithm}, not sha256", where=where)
        if sizes.setdefault(layer.blob.digest, layer.blob) != layer.blob:
            raise InvalidManifest(f"{layer.blob.digest} is listed with two sizes", where=where)
    return manifest


def require_none(problems: tuple[Problem, ...], where: str) -> None:
    """Refuse an artifact with problems.

    Raises:
        BrokenPromises: there are problems; the message has the first of them.
    """
    if problems:
        listed = [f"{problem.where}: {problem.message}" for problem in problems[:_MOST_LISTED]]
        more = [f"and {len(problems) - _MOST_LISTED} more"] if len(problems) > _MOST_LISTED else []
        raise BrokenPromises(
            "the artifact does not match its own manifest and config"
            + "".join(f"\n  {line}" for line in (*listed, *more)),
            where=where,
        )
