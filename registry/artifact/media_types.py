"""The media types and annotation keys of CNCF ModelPack, OCI and this project."""

from __future__ import annotations

from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
INDEXES: Final = frozenset({OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})

MODEL_MANIFEST: Final = "application/vnd.cncf.model.manifest.v1+json"
"""The artifact type (model-spec, spec.md)."""
MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"

WEIGHT: Final = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG: Final = "application/vnd.cncf.model.weight.config.v1.raw"
DOC: Final = "application/vnd.cncf.model.doc.v1.raw"

MODEL_LAYERS: Final = frozenset(
    f"application/vnd.cncf.model.{content}.v1.{form}"
    for content in ("weight", "weight.config", "doc", "code", "dataset")
    for form in ("raw", "tar", "tar+gzip", "tar+zstd")
)
"""All twenty layer types of the specification; readers reject any other."""

FILE_PATH: Final = "org.cncf.model.filepath"
TITLE: Final = "org.opencontainers.image.title"
DESCRIPTION: Final = "org.opencontainers.image.description"
VERSION: Final = "org.opencontainers.image.version"
LICENSES: Final = "org.opencontainers.image.licenses"
SOURCE: Final = "org.opencontainers.image.source"
REVISION: Final = "org.opencontainers.image.revision"
BASE_NAME: Final = "org.opencontainers.image.base.name"

SPEC_DIGEST: Final = "dev.mlxbuild.spec.digest"
LOCK_DIGEST: Final = "dev.mlxbuild.lock.digest"
SET_DIGEST: Final = "dev.mlxbuild.set.digest"
QUANTIZATION: Final = "dev.mlxbuild.quantization"
