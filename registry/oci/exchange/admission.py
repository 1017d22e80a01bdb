"""Judges a manifest that came from anywhere before anything that it names is fetched. Nothing is fetched here."""

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
_MOST_TOLD = 10


class BrokenPromises(TrustError):
    """An artifact is not what its own manifest and config say."""

    code = "broken-promises"


def admit_artifact(raw: RawManifest, where: str) -> Manifest:
    """The manifest of a model that can be pulled.

    Raises:
        InvalidManifest: it is something else, names a blob with two sizes, or a layer that cannot be read.
        UnsafePath: a file would lie outside of the folder, or two would be one.
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
    """A manifest whose descriptors agree with each other.

    Raises:
        InvalidManifest: it is something else, or names a blob with two sizes.
    """
    manifest = manifests.parse(raw.data, raw.digest)
    if raw.media_type in media_types.INDEXES:  # whoever reads it so would see another content
        raise InvalidManifest(f"it is sent as {raw.media_type}, and is no index", where=where)
    sizes: dict[Digest, Blob] = {raw.digest: Blob(raw.digest, len(raw.data))}
    for layer in (manifest.config, *manifest.layers):
        if layer.blob.digest.algorithm != "sha256":
            raise InvalidManifest(f"a blob is named by {layer.blob.digest.algorithm}, not sha256", where=where)
        if sizes.setdefault(layer.blob.digest, layer.blob) != layer.blob:
            raise InvalidManifest(f"{layer.blob.digest} is named with two sizes", where=where)
    return manifest


def require_none(problems: tuple[Problem, ...], where: str) -> None:
    """Refuse an artifact with problems.

    Raises:
        BrokenPromises: with the first of them.
    """
    if problems:
        told = [f"{problem.where}: {problem.message}" for problem in problems[:_MOST_TOLD]]
        more = [f"and {len(problems) - _MOST_TOLD} more"] if len(problems) > _MOST_TOLD else []
        raise BrokenPromises(
            "the artifact breaks its own promises" + "".join(f"\n  {line}" for line in (*told, *more)), where=where
        )
