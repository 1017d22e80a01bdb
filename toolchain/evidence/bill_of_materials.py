"""A CycloneDX 1.6 bill of materials of an artifact, with its files and the sources it was built from.

It depends on the artifact alone, so the same artifact always has the same one; times are in the provenance.
Source: cyclonedx.org, bom-1.6.schema.json.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.rebuild import LOCK_FILE

MEDIA_TYPE: Final = "application/vnd.cyclonedx+json"
_ARTIFACT = "artifact"


def bill_of_materials(artifact: Artifact) -> bytes:
    """The bill of materials as canonical JSON.

    Raises:
        DamagedLock, BlobMissing, BlobCorrupt: the artifact's lock cannot be read.
    """
    lock = artifact.file(LOCK_FILE)
    sources = () if lock is None else decode(artifact.read(LOCK_FILE), LOCK_FILE).sources
    files = [
        {"type": "file", "bom-ref": f"file:{file.path}", "name": file.path, "hashes": _hashes(file.blob.digest)}
        for file in artifact.files
    ]
    return canonical_json.encode(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, str(artifact.digest))}",
            "version": 1,
            "metadata": {"component": _model(artifact)},
            "components": [*(_source(source) for source in sources), *files],
            "dependencies": [
                {"ref": _ARTIFACT, "dependsOn": [f"source:{source.role}" for source in sources]},
                *({"ref": f"source:{source.role}", "dependsOn": []} for source in sources),
            ],
        }
    )


def _model(artifact: Artifact) -> dict[str, Any]:
    descriptor, settings = artifact.config["descriptor"], artifact.config["config"]
    licenses = descriptor.get("licenses")
    return _present(
        {
            "type": "machine-learning-model",
            "bom-ref": _ARTIFACT,
            "name": descriptor["name"],
            "version": descriptor.get("version"),
            "description": descriptor.get("description"),
            "hashes": _hashes(artifact.digest),
            "licenses": [{"expression": " AND ".join(licenses)}] if licenses else None,
            "modelCard": {
                "modelParameters": _present(
                    {
                        "task": "text-generation",
                        "architectureFamily": descriptor.get("family"),
                        "modelArchitecture": settings.get("architecture"),
                        "inputs": [{"format": "text"}],
                        "outputs": [{"format": "text"}],
                    }
                )
            },
            "properties": list(_properties(artifact)),
        }
    )


def _properties(artifact: Artifact) -> Iterator[dict[str, str]]:
    settings = artifact.config["config"]
    for name in ("format", "paramSize", "precision", "quantization"):
        if name in settings:
            yield {"name": f"mlxbuild:{name}", "value": str(settings[name])}
    for name in (media_types.SPEC_DIGEST, media_types.LOCK_DIGEST, media_types.SET_DIGEST):
        if name in artifact.annotations:
            yield {"name": name, "value": artifact.annotations[name]}


def _source(source: LockedSource) -> dict[str, Any]:
    """A component for a source and its files; a folder has no version, because only its files pin it."""
    on_hub = source.kind == "hub"
    return _present(
        {
            "type": "data" if source.role == "tokenizer" else "machine-learning-model",
            "bom-ref": f"source:{source.role}",
            "name": source.identity,
            "version": source.pinned,
            "purl": f"pkg:huggingface/{source.identity}@{source.pinned}" if on_hub else None,
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"source:{source.role}/{file.path}",
                    "name": file.path,
                    "hashes": _hashes(file.blob.digest),
                }
                for file in source.files
                if not file.derived
            ],
        }
    )


def _hashes(digest: Digest) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.hex}]


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}
