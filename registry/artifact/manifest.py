"""Parses OCI image manifests as untrusted data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core import bounded_json
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.errors import Location, TrustError
from mlxbuild.registry.store.layout import MANIFEST_LIMIT_BYTES, Store

__all__ = ["MANIFEST_LIMIT_BYTES", "InvalidManifest", "Layer", "Manifest", "json_object", "parse", "read"]


_NOT_OURS = "it was damaged or tampered with, or is not a model: build, pull or import it again"
_LONGEST_SHOWN = 100


class InvalidManifest(TrustError):
    """A blob is not a valid manifest or config."""

    code = "invalid-manifest"

    def __init__(self, message: str, *, where: Location | str | None = None, hint: str | None = _NOT_OURS) -> None:
        super().__init__(message, where=where, hint=hint)


@dataclass(frozen=True, slots=True)
class Layer:
    """One descriptor of a manifest."""

    media_type: str
    blob: Blob
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Manifest:
    """An OCI image manifest, of which only the structure was checked."""

    blob: Blob
    artifact_type: str | None
    config: Layer
    layers: tuple[Layer, ...]
    subject: Digest | None
    annotations: Mapping[str, str]


def read(store: Store, digest: Digest) -> Manifest:
    """Read the manifest of a digest from the store.

    Raises:
        BlobMissing, BlobCorrupt, BlobTooLarge: it cannot be read.
        InvalidManifest: it is not a manifest.
    """
    return parse(store.read(digest, limit_bytes=MANIFEST_LIMIT_BYTES), digest)


def parse(data: bytes, digest: Digest) -> Manifest:
    """Parse the bytes of a manifest, which have that digest.

    Raises:
        InvalidManifest: they are not a manifest.
    """
    where = str(digest)
    document = json_object(data, where)
    if "manifests" in document:
        raise InvalidManifest(_index_message(document), where=where, hint=_entries_hint(document))
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise InvalidManifest(f"it has no list of layers, and {_type_message(document)}", where=where)
    subject = document.get("subject")
    artifact_type = document.get("artifactType")
    return Manifest(
        blob=Blob(digest, len(data)),
        artifact_type=artifact_type if isinstance(artifact_type, str) else None,
        config=_layer(document.get("config"), f"{where} config"),
        layers=tuple(_layer(layer, f"{where} layer {number}") for number, layer in enumerate(layers, 1)),
        subject=None if subject is None else _layer(subject, f"{where} subject").blob.digest,
        annotations=_annotations(document.get("annotations"), where),
    )


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        InvalidManifest: the bytes are not a JSON object.
    """
    try:
        document = bounded_json.decode(data)
    except ValueError as error:
        raise InvalidManifest(f"it is not valid JSON: {error}", where=where) from error
    if not isinstance(document, dict):
        raise InvalidManifest("it is not a JSON object", where=where)
    return document


def _index_message(document: Mapping[str, Any]) -> str:
    return f"it is an index, not an artifact: {_type_message(document)}"


def _type_message(document: Mapping[str, Any]) -> str:
    media_type = document.get("mediaType")
    return f"its media type is {media_type[:_LONGEST_SHOWN]}" if isinstance(media_type, str) else "it has no media type"


def _entries_hint(document: Mapping[str, Any]) -> str:
    listed = document.get("manifests")
    digests = [str(it.get("digest")) for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []
    if not digests:
        return _NOT_OURS
    return "name one of its manifests by digest: " + ", ".join(digest[:_LONGEST_SHOWN] for digest in digests[:8])


def _layer(value: object, where: str) -> Layer:
    if not isinstance(value, dict):
        raise InvalidManifest("it is not a descriptor", where=where)
    media_type, size, digest = value.get("mediaType"), value.get("size"), value.get("digest")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise InvalidManifest("a descriptor needs mediaType and digest", where=where)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidManifest("a descriptor needs a size in bytes", where=where)
    try:
        blob = Blob(Digest.parse(digest), size)
    except InvalidDigest as error:
        raise InvalidManifest(error.message, where=where) from error
    return Layer(media_type, blob, _annotations(value.get("annotations"), where))


def _annotations(value: object, where: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidManifest("annotations are a map from strings to strings", where=where)
    return value
