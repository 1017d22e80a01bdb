"""Recognizes manifests that are not models, by their media types."""

from __future__ import annotations

from typing import Final

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.manifest import InvalidManifest, Manifest

_EMPTY = "application/vnd.oci.empty.v1+json"
_BY_CONFIG: Final = {
    "application/vnd.oci.image.config.v1+json": "a container image",
    "application/vnd.docker.container.image.v1+json": "a container image",
    "application/vnd.cncf.helm.config.v1+json": "a Helm chart",
    "application/vnd.kitops.modelkit.config.v1+json": "a ModelKit of KitOps",
    "application/vnd.wasm.config.v0+json": "a WebAssembly module",
}
_OLLAMA_LAYER = "application/vnd.ollama.image."
_DOCKER_MODEL = "application/vnd.docker.ai.model.config."


def require_model(manifest: Manifest, where: str) -> None:
    """Refuse a manifest whose media types say that it is not a ModelPack artifact.

    Raises:
        InvalidManifest: it is something else; the message names it and its media type.
    """
    config = manifest.config.media_type
    if config == media_types.MODEL_CONFIG:
        return
    what, hint = _what(manifest), f"artifacts have a config of type {media_types.MODEL_CONFIG}"
    if any(layer.media_type.startswith(_OLLAMA_LAYER) for layer in manifest.layers):
        what, hint = "a model in Ollama's format", "build from it: `mlxbuild import ollama:NAME` writes the recipe"
    said = f"its config is {config}" if config != _EMPTY else f"its artifact type is {manifest.artifact_type}"
    raise InvalidManifest(f"it is {what}, not a model: {said}", where=where, hint=hint)


def _what(manifest: Manifest) -> str:
    config, kind = manifest.config.media_type, manifest.artifact_type
    if config.startswith(_DOCKER_MODEL):
        return "a model in Docker's format"
    if config in _BY_CONFIG:
        return _BY_CONFIG[config]
    return "an artifact of another type" if kind is None else f"an artifact of type {kind}"
