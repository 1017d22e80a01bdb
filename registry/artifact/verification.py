"""Verifies an artifact against its manifest and config, and reports every problem."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.files import ArtifactFile, UnsafePath, collisions, set_digest
from mlxbuild.registry.artifact.manifest import InvalidManifest, Layer, Manifest
from mlxbuild.registry.artifact.reader import artifact_file
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, BlobTooLarge, Store

_MOST_SCHEMA_PROBLEMS = 100
_SCHEMA = Path(__file__).with_name("modelpack-config.schema.json")


class ProblemKind(StrEnum):
    """The kind of a problem."""

    MISSING = "missing"
    SIZE = "size"
    DIGEST = "digest"
    MANIFEST = "manifest"
    CONFIG_SCHEMA = "config-schema"
    DIFF_IDS = "diff-ids"
    UNSAFE_PATH = "unsafe-path"
    SET_DIGEST = "set-digest"
    LAYER_TYPE = "layer-type"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of an artifact."""

    kind: ProblemKind
    where: str
    """`manifest`, `config`, or the path of a file."""
    message: str
    digest: Digest | None = None
    """The damaged blob, if there is one; it can be quarantined and made again."""


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The outcome of one verification."""

    digest: Digest
    checked_blobs: int
    checked_bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify(
    store: Store, digest: Digest, *, jobs: int | None = None, progress: Callable[[int], None] | None = None
) -> VerificationReport:
    """Verify one artifact: each blob's size and sha256, config schema, diffIds, paths, layer types, set digest.

    `jobs` threads hash at once, by default one per core, the largest blobs first. `progress` gets the number of
    bytes just hashed, from one thread at a time.

    Raises:
        StoreFailure: the disk cannot be read. Missing and damaged blobs are in the report instead.
    """
    try:
        manifest = manifests.read(store, digest)
    except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest) as error:
        return VerificationReport(digest, 0, 0, (_problem(error, "manifest", digest),))
    uses = _uses(manifest)
    blob_problems = _check_blobs(store, uses, jobs or os.cpu_count() or 1, progress)
    problems = [*blob_problems, *_check_layers(manifest)]
    if not any(problem.where == "config" for problem in problems):
        problems += _check_config(store, manifest)
    blobs = {blob.digest: blob for blob, _ in uses}
    total = manifest.blob.size_bytes + sum(blob.size_bytes for blob in blobs.values())
    return VerificationReport(digest, 1 + len(blobs), total, tuple(problems))


def check_description(store: Store, manifest: Manifest) -> tuple[Problem, ...]:
    """The checks that do not need the files: config schema, diffIds, paths, layer types, set digest."""
    return (*_check_layers(manifest), *_check_config(store, manifest))


def _problem(error: MlxbuildError, where: str, digest: Digest) -> Problem:
    kinds = {BlobMissing: ProblemKind.MISSING, BlobCorrupt: ProblemKind.DIGEST, BlobTooLarge: ProblemKind.SIZE}
    return Problem(kinds.get(type(error), ProblemKind.MANIFEST), where, error.message, digest)


def _uses(manifest: Manifest) -> list[tuple[Blob, str]]:
    """Every blob of the manifest with the place that refers to it."""
    named = [(layer.blob, _where(layer, number)) for number, layer in enumerate(manifest.layers, 1)]
    return [(manifest.config.blob, "config"), *named]


def _where(layer: Layer, number: int) -> str:
    return layer.annotations.get(media_types.FILE_PATH) or f"layer {number}"


def _check_blobs(
    store: Store, uses: Sequence[tuple[Blob, str]], jobs: int, progress: Callable[[int], None] | None
) -> Iterator[Problem]:
    counted = None if progress is None else _one_at_a_time(progress)

    def check(blob: Blob) -> tuple[ProblemKind, str] | None:
        try:
            if (found := store.size(blob.digest)) != blob.size_bytes:
                return ProblemKind.SIZE, f"{found} bytes are in the store, {blob.size_bytes} were promised"
            store.verify(blob.digest, counted)
        except BlobMissing as error:
            return ProblemKind.MISSING, error.message
        except BlobCorrupt as error:
            return ProblemKind.DIGEST, error.message
        return None

    # Each blob is hashed once, however many layers refer to it; the largest first, so that the threads end together.
    distinct = sorted({blob for blob, _ in uses}, key=lambda blob: (-blob.size_bytes, blob.digest))
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="verify") as pool:
        outcomes = dict(zip(distinct, pool.map(check, distinct), strict=True))
    for blob, where in uses:
        outcome = outcomes[blob]
        if outcome is not None:
            yield Problem(outcome[0], where, outcome[1], blob.digest)


def _one_at_a_time(progress: Callable[[int], None]) -> Callable[[int], None]:
    lock = Lock()

    def locked(size_bytes: int) -> None:
        with lock:
            progress(size_bytes)

    return locked


def _check_layers(manifest: Manifest) -> Iterator[Problem]:
    if manifest.artifact_type != media_types.MODEL_MANIFEST:
        yield Problem(ProblemKind.MANIFEST, "manifest", f"its artifact type is {manifest.artifact_type}")
    files: list[ArtifactFile] = []
    for number, layer in enumerate(manifest.layers, 1):
        where = _where(layer, number)
        if layer.media_type not in media_types.MODEL_LAYERS:
            yield Problem(ProblemKind.LAYER_TYPE, where, f"{layer.media_type} is not a ModelPack layer type")
            continue
        try:
            files.append(artifact_file(layer))
        except UnsafePath as error:
            yield Problem(ProblemKind.UNSAFE_PATH, where, error.message)
        except InvalidManifest as error:
            yield Problem(ProblemKind.LAYER_TYPE, where, error.message)
    for first, second in collisions(file.path for file in files):
        yield Problem(ProblemKind.UNSAFE_PATH, second, f"it would be one file with `{first}` on some systems")
    promised = manifest.annotations.get(media_types.SET_DIGEST)
    if promised is not None and promised != (found := str(set_digest(files))):
        yield Problem(ProblemKind.SET_DIGEST, "manifest", f"the files make {found}, {promised} was promised")


def _check_config(store: Store, manifest: Manifest) -> Iterator[Problem]:
    if manifest.config.media_type != media_types.MODEL_CONFIG:
        yield Problem(ProblemKind.CONFIG_SCHEMA, "config", f"{manifest.config.media_type} is not a model's config")
        return
    digest = manifest.config.blob.digest
    try:
        document = manifests.json_object(store.read(digest), "config")
    except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest) as error:
        yield Problem(ProblemKind.CONFIG_SCHEMA, "config", error.message, digest)
        return
    schema_problems = list(_schema_problems(document))
    yield from schema_problems
    if not any(problem.message.startswith("modelfs") for problem in schema_problems) and "modelfs" in document:
        promised = document["modelfs"]["diffIds"]
        if promised != [str(layer.blob.digest) for layer in manifest.layers]:
            yield Problem(ProblemKind.DIFF_IDS, "config", "modelfs.diffIds are not the digests of the layers in order")


def _schema_problems(document: dict[str, Any]) -> Iterator[Problem]:
    errors = islice(_validator().iter_errors(document), _MOST_SCHEMA_PROBLEMS)
    for error in sorted(errors, key=lambda error: (error.json_path, error.message)):
        place = error.json_path.removeprefix("$").removeprefix(".") or "the top"
        yield Problem(ProblemKind.CONFIG_SCHEMA, "config", f"{place}: {error.message}")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # importing it takes longer than verifying a small artifact

    return Draft202012Validator(json.loads(_SCHEMA.read_bytes()))
