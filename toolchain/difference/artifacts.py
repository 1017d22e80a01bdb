"""Compares two artifacts of a store part by part; the report formats the result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.files import FileRole
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.core.lock import Lock
from mlxbuild.toolchain.core.lock_errors import DamagedLock
from mlxbuild.toolchain.difference import tokenizers
from mlxbuild.toolchain.difference.documents import Change, changes, unified
from mlxbuild.toolchain.difference.logical import LogicalTensor
from mlxbuild.toolchain.difference.tensors import TensorDifference, compare, tensors_of
from mlxbuild.toolchain.difference.tokenizers import TokenizerDifference
from mlxbuild.toolchain.interchange.closure import referrers_of
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.weights.blocks import labels_of, order_of

RECIPE, LOCK, TEMPLATE, TOKENIZER = (
    "mlxbuild/ModelSpec.json",
    "mlxbuild/ModelSpec.lock",
    "chat_template.jinja",
    "tokenizer.json",
)
DOCUMENTS = {"recipe": RECIPE, "defaults": "mlxbuild/defaults.json", "facts": "mlxbuild/facts.json"}
_TEXT_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two compared artifacts."""

    digest: Digest
    size_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file whose bytes differ, or that only one of the artifacts has."""

    path: str
    before: Blob | None
    after: Blob | None

    def to_json(self) -> dict[str, Any]:
        """The difference as plain JSON data."""
        sides = {"before": self.before, "after": self.after}
        return {
            "path": self.path,
            **{
                side: {"digest": str(blob.digest), "size": blob.size_bytes}
                for side, blob in sides.items()
                if blob is not None
            },
        }


@dataclass(frozen=True, slots=True)
class ArtifactDifference:
    """Everything that differs; all parts are empty if the artifacts are equal."""

    before: Side
    after: Side
    documents: Mapping[str, tuple[Change, ...]]
    """The differences by document: recipe, lock, defaults, facts, config (of the model), description (of the manifest),
    evidence."""
    template: tuple[str, ...]
    """The lines of a unified diff."""
    tokenizer: TokenizerDifference | None
    tensors: Mapping[str, tuple[TensorDifference, ...]]
    """The tensors that differ, by block."""
    same_weights: tuple[Blob, ...]
    """Weight files that both artifacts hold and that were therefore not read."""
    files: tuple[FileDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether the two are the same artifact."""
        return self.before.digest == self.after.digest


def difference(before: Artifact, after: Artifact, *, values: bool = True) -> ArtifactDifference:
    """Compare two artifacts. Blobs that both share are not read.

    Args:
        before: The first artifact.
        after: The second artifact.
        values: Compute the largest difference of values; otherwise only report which tensors differ.

    Raises:
        BlobMissing, BlobCorrupt, BlobTooLarge: a file of an artifact cannot be read.
        UnsafeWeights: a weights file does not match its header.
    """
    documents = {part: _documents(before, after, path) for part, path in DOCUMENTS.items()}
    documents["lock"] = tuple(changes(_lock(before), _lock(after)))
    documents["config"] = _documents(before, after, "config.json")
    documents["description"] = tuple(changes(_description(before), _description(after)))
    if before.digest != after.digest:
        documents["evidence"] = tuple(changes(_evidence(before), _evidence(after)))
    files = tuple(_files(before, after))
    return ArtifactDifference(
        before=_side(before),
        after=_side(after),
        documents={part: found for part, found in documents.items() if found},
        template=_template(before, after),
        tokenizer=_tokenizer(before, after),
        tensors=_tensors(before, after, values=values),
        same_weights=tuple(sorted(_weights(before).keys() & _weights(after).keys())),
        files=files,
    )


def _side(artifact: Artifact) -> Side:
    return Side(artifact.digest, artifact.size_bytes, len(artifact.files))


def _blob(artifact: Artifact, path: str) -> Blob | None:
    file = artifact.file(path)
    return None if file is None else file.blob


def _files(before: Artifact, after: Artifact) -> Iterator[FileDifference]:
    for path in sorted({file.path for file in (*before.files, *after.files)}):
        one, other = _blob(before, path), _blob(after, path)
        if one != other:
            yield FileDifference(path, one, other)


def _documents(before: Artifact, after: Artifact, path: str) -> tuple[Change, ...]:
    if _blob(before, path) == _blob(after, path):
        return ()
    return tuple(changes(_json(before, path), _json(after, path)))


def _json(artifact: Artifact, path: str) -> Any:
    if artifact.file(path) is None:
        return None
    data = artifact.read(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # a referrer of another tool: its digest is still compared
        return str(Digest.of_bytes(data))


def _description(artifact: Artifact) -> dict[str, Any]:
    described = {key: value for key, value in artifact.config.items() if key != "modelfs"}
    return {"annotations": dict(artifact.annotations), **described}


def _evidence(artifact: Artifact) -> dict[str, int]:
    """The number of referrers of the artifact in this store, by type."""
    kinds = [
        referrer.annotations.get("dev.sigstore.bundle.predicateType") or referrer.artifact_type or "unknown"
        for referrer in referrers_of(artifact.store, artifact.digest)
    ]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _lock(artifact: Artifact) -> Any:
    """The lock by source and file, without the tensor tables, which follow from the files."""
    if artifact.file(LOCK) is None:
        return None
    data = artifact.read(LOCK)
    with suppress(DamagedLock):
        return _lock_document(decode(data, LOCK))
    return str(Digest.of_bytes(data))


def _lock_document(lock: Lock) -> dict[str, Any]:
    return {
        source.role: {
            "kind": source.kind,
            "identity": source.identity,
            "requested": source.requested,
            "pinned": source.pinned,
            "files": {file.path: str(file.blob.digest) for file in source.files},
        }
        for source in lock.sources
    }


def _template(before: Artifact, after: Artifact) -> tuple[str, ...]:
    if _blob(before, TEMPLATE) == _blob(after, TEMPLATE):
        return ()
    texts = [
        artifact.store.read(blob.digest, limit_bytes=_TEXT_LIMIT_BYTES).decode(errors="replace") if blob else ""
        for artifact in (before, after)
        for blob in (_blob(artifact, TEMPLATE),)
    ]
    return unified(texts[0], texts[1], TEMPLATE)


def _tokenizer(before: Artifact, after: Artifact) -> TokenizerDifference | None:
    one, other = _blob(before, TOKENIZER), _blob(after, TOKENIZER)
    if one == other or one is None or other is None:
        return None
    return tokenizers.compare(before.read(TOKENIZER), after.read(TOKENIZER))


def _weights(artifact: Artifact) -> dict[Blob, str]:
    return {
        file.blob: file.path
        for file in artifact.files
        if file.role is FileRole.WEIGHT and file.path.endswith(".safetensors")
    }


def _tensors(before: Artifact, after: Artifact, *, values: bool) -> dict[str, tuple[TensorDifference, ...]]:
    shared = _weights(before).keys() & _weights(after).keys()
    found = list(compare(_table(before, shared), _table(after, shared), values=values))
    labels = labels_of(it.name for it in found)
    blocks = sorted(set(labels.values()), key=order_of)
    return {block: tuple(it for it in found if labels[it.name] == block) for block in blocks}


def _table(artifact: Artifact, shared: set[Blob]) -> dict[str, LogicalTensor]:
    files: dict[str, Path] = {
        path: artifact.store.path(blob.digest) for blob, path in _weights(artifact).items() if blob not in shared
    }
    config = _json(artifact, "config.json") if files else None
    return tensors_of(files, config.get("quantization") if isinstance(config, dict) else None)
