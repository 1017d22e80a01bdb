"""Writes an artifact's CNCF ModelPack config and manifest, which depend on no clock, host or local path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.files import ArtifactFile, in_order, set_digest
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError, UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor

_SCALES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


class ReservedAnnotation(UserError):
    """A recipe sets an annotation that mlxbuild computes."""

    code = "reserved-annotation"


class WrongSize(TrustError):
    """A file's declared size is not that of its blob."""

    code = "wrong-size"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of a model in ModelPack's terms; input and output are text."""

    reasoning: bool = False
    tool_usage: bool = False
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of two lowercase letters."""


@dataclass(frozen=True, slots=True)
class ArtifactDescription:
    """The metadata of an artifact, all of which is a function of recipe and lock."""

    name: str
    version: str
    title: str
    """The title for display, such as `hello:int4@1.0`."""
    spec_digest: Digest
    lock_digest: Digest
    description: str = ""
    family: str | None = None
    """The `model_type` of the model's config."""
    architecture: str | None = None
    """The architecture, such as `transformer`, or the class in the model's config."""
    parameters: int | None = None
    """The number of parameters of the source model."""
    precision: str | None = None
    """The dtype of the unquantized tensors, because ModelPack has no name for 4 bits."""
    quantization: str | None = None
    """The quantization, such as `mlx-affine-4bit-g64`."""
    quantization_parameters: Mapping[str, Any] | None = None
    """The parameters written as canonical JSON into the annotation `dev.mlxbuild.quantization`."""
    licenses: tuple[str, ...] = ()
    """SPDX expressions."""
    source: str | None = None
    """The URL of the base model."""
    revision: str | None = None
    """The commit of the base model."""
    base_name: str | None = None
    """The name of the base model, such as `hf.co/org/name@<commit>`."""
    capabilities: Capabilities | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    """The annotations that the recipe sets."""


def build(store: Store, description: ArtifactDescription, files: Iterable[ArtifactFile]) -> Blob:
    """Put config and manifest into the store and return the manifest's blob.

    Raises:
        UserError: there are no files, or an annotation is reserved.
        UnsafePath: two paths collide.
        BlobMissing: a file's blob is not in the store.
        WrongSize: a file's blob has another size.
        DiskFull, StoreReadOnly, StoreFailure: the blobs cannot be written.
    """
    ordered = in_order(files)
    if not ordered:
        raise UserError("an artifact needs at least one file")
    for file in ordered:
        if (found := store.size(file.blob.digest)) != file.blob.size_bytes:
            raise WrongSize(f"{file.path} has {found} bytes, not {file.blob.size_bytes}", where=file.path)
    config = canonical_json.encode(config_document(description, ordered))
    config_blob = Blob(Digest.of_bytes(config), len(config))
    manifest = canonical_json.encode(manifest_document(description, ordered, config_blob))
    return store.put_all(config, manifest)[1]


def tag_descriptor(manifest: Blob) -> Descriptor:
    """The descriptor of an artifact's manifest in index.json."""
    return Descriptor(manifest.digest, manifest.size_bytes, media_types.OCI_MANIFEST, media_types.MODEL_MANIFEST)


def config_document(description: ArtifactDescription, files: tuple[ArtifactFile, ...]) -> dict[str, Any]:
    """The ModelPack config; its schema allows no additional fields."""
    capabilities = description.capabilities
    return {
        "descriptor": _present(
            name=description.name,
            version=description.version,
            title=description.title,
            description=description.description,
            family=description.family,
            licenses=list(description.licenses),
            sourceURL=description.source,
            revision=description.revision,
        ),
        "config": _present(
            architecture=description.architecture,
            format="safetensors",
            paramSize=None if description.parameters is None else parameter_size(description.parameters),
            precision=description.precision,
            quantization=description.quantization,
            capabilities=None if capabilities is None else _capabilities(capabilities),
        ),
        "modelfs": {"type": "layers", "diffIds": [str(file.blob.digest) for file in files]},
    }


def manifest_document(
    description: ArtifactDescription, files: tuple[ArtifactFile, ...], config: Blob
) -> dict[str, Any]:
    """The OCI manifest: one raw layer per file, with both annotations that other tools read."""
    computed = _present(
        **{
            media_types.TITLE: description.title,
            media_types.DESCRIPTION: description.description,
            media_types.VERSION: description.version,
            media_types.LICENSES: " AND ".join(description.licenses),
            media_types.SOURCE: description.source,
            media_types.REVISION: description.revision,
            media_types.BASE_NAME: description.base_name,
            media_types.SPEC_DIGEST: str(description.spec_digest),
            media_types.LOCK_DIGEST: str(description.lock_digest),
            media_types.SET_DIGEST: str(set_digest(files)),
            media_types.QUANTIZATION: _quantization(description),
        }
    )
    for key in description.annotations:
        if key in computed or key.startswith("dev.mlxbuild."):
            raise ReservedAnnotation(f"the annotation `{key}` is computed", hint="leave it out of the recipe")
    return {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": media_types.MODEL_MANIFEST,
        "config": {"mediaType": media_types.MODEL_CONFIG, "digest": str(config.digest), "size": config.size_bytes},
        "layers": [
            {
                "mediaType": file.role.media_type,
                "digest": str(file.blob.digest),
                "size": file.blob.size_bytes,
                "annotations": {media_types.FILE_PATH: file.path, media_types.TITLE: file.path},
            }
            for file in files
        ],
        "annotations": {**description.annotations, **computed},
    }


def parameter_size(count: int) -> str:
    """Format a parameter count as ModelPack does, with one decimal: 8030261248 is `8.0B`."""
    sizes = (((count * 10 + scale // 2) // scale, letter) for scale, letter in _SCALES)
    tenths, letter = next((size for size in sizes if size[0] >= 10), ((count + 50) // 100, "K"))
    return f"{tenths // 10}.{tenths % 10}{letter}"


def parameter_count(size: str) -> int | None:
    """The approximate count behind a text of `parameter_size`; None for formats of other tools."""
    scales = {letter: scale for scale, letter in _SCALES} | {"K": 1000}
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(scales)}])", size.strip().upper())
    return None if match is None else round(float(match[1]) * scales[match[2]])


def _capabilities(capabilities: Capabilities) -> dict[str, Any]:
    return _present(
        inputTypes=["text"],
        outputTypes=["text"],
        reasoning=capabilities.reasoning,
        toolUsage=capabilities.tool_usage,
        languages=list(capabilities.languages),
    )


def _quantization(description: ArtifactDescription) -> str | None:
    if description.quantization_parameters is None:
        return None
    return canonical_json.encode(dict(description.quantization_parameters)).decode()


def _present(**values: Any) -> dict[str, Any]:
    """The given values without None and empty values."""
    return {key: value for key, value in values.items() if value is not None and value != "" and value != []}
