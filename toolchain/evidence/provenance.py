"""SLSA v1 provenance: builds the predicate for an artifact, and checks whether one agrees with its artifact.

docs/provenance.md, to which the build type points, defines each field.
Source: slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.evidence.known_run import KnownRun
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.rebuild import LOCK_FILE, RECIPE_FILE, NotRebuildable
from mlxbuild.toolchain.spec.ollama_name import OllamaName
from mlxbuild.toolchain.weights.accuracy import accuracy_content

BUILD_TYPE: Final = "https://mlxbuild.dev/build/v1"
BUILDER: Final = "https://mlxbuild.dev/builder/command-line"
BILL_OF_MATERIALS: Final = "bill of materials"
"""Name of the byproduct through which a signed provenance covers the unsigned bill of materials."""


def provenance(artifact: Artifact, run: KnownRun | None, bill_of_materials: Digest) -> dict[str, Any]:
    """The provenance predicate of an artifact.

    Everything but times, machine and tools follows from the artifact's recipe and lock; those are included only if
    the run that built it is known.

    Raises:
        NotRebuildable: the artifact has no recipe or no lock.
        DamagedLock, BlobMissing, BlobCorrupt: they cannot be read.
    """
    details: dict[str, Any] = {
        "builder": {"id": BUILDER},
        "byproducts": [{"name": BILL_OF_MATERIALS, "digest": _sha256(bill_of_materials)}],
    }
    if run is not None:
        details["builder"]["version"] = {name: run.built_by[name] for name in _TOOLS if name in run.built_by}
        details["metadata"] = {"invocationId": run.name, "startedOn": run.started, "finishedOn": run.finished}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"recipe": _recipe(artifact)},
            "internalParameters": {
                "lock": {"digest": _sha256(_carried(artifact, LOCK_FILE))},
                **_accuracy(artifact),
                **_work(run),
            },
            "resolvedDependencies": _inputs(artifact),
        },
        "runDetails": details,
    }


_TOOLS = ("mlxbuild", "python")
_MACHINE = ("system", "machine")


def contradictions(predicate: Mapping[str, Any], artifact: Artifact) -> tuple[str, ...]:
    """Every way in which a signed provenance contradicts its artifact, one sentence each.

    A bill of materials that it names has to be in the store. Only provenance of mlxbuild's build type can be checked;
    for any other, the result is empty.

    Raises:
        NotRebuildable: the artifact has no recipe or no lock.
        DamagedLock, BlobMissing, BlobCorrupt: they cannot be read.
    """
    return tuple(_contradict(predicate, artifact))


def _contradict(predicate: Mapping[str, Any], artifact: Artifact) -> Iterator[str]:
    if not is_ours(predicate):
        return
    definition = _mapping(predicate, "buildDefinition")
    if _mapping(definition, "externalParameters").get("recipe") != _recipe(artifact):
        yield "the provenance is of another recipe than the artifact carries"
    lock = _mapping(_mapping(definition, "internalParameters"), "lock")
    if lock.get("digest") != _sha256(_carried(artifact, LOCK_FILE)):
        yield "the provenance is of another lock than the artifact carries"
    accuracy = _mapping(definition, "internalParameters").get("accuracy")
    if accuracy != _accuracy(artifact).get("accuracy"):
        yield "the provenance and the artifact disagree on how close tensors are to their source"
    if definition.get("resolvedDependencies") != _inputs(artifact):
        yield "the provenance names other inputs than the lock"
    named = bill_of_materials_of(predicate)
    if named is None:
        yield "the provenance names no bill of materials"
    elif not artifact.store.has(named):
        yield f"the bill of materials that the provenance names ({named}) is missing"
    else:
        artifact.store.verify(named)


def is_ours(predicate: Mapping[str, Any]) -> bool:
    """Whether a provenance is of mlxbuild's build type."""
    return _mapping(predicate, "buildDefinition").get("buildType") == BUILD_TYPE


def bill_of_materials_of(predicate: Mapping[str, Any]) -> Digest | None:
    """The digest of the bill of materials that a provenance covers."""
    byproducts = _mapping(predicate, "runDetails").get("byproducts")
    for each in byproducts if isinstance(byproducts, list) else ():
        if isinstance(each, dict) and each.get("name") == BILL_OF_MATERIALS:
            with suppress(InvalidDigest):
                return Digest.parse(f"sha256:{_mapping(each, 'digest').get('sha256')}")
    return None


def _recipe(artifact: Artifact) -> dict[str, Any]:
    digest = _carried(artifact, RECIPE_FILE)
    return {"digest": _sha256(digest), "content": json.loads(artifact.store.read(digest))}


def _accuracy(artifact: Artifact) -> dict[str, Any]:
    """The accuracy of each tensor relative to a source that was already quantized."""
    content = accuracy_content(artifact)
    return {} if content is None else {"accuracy": content}


def _work(run: KnownRun | None) -> dict[str, Any]:
    """The kinds of steps that ran, the versions of their tools, and the kind of machine."""
    if run is None:
        return {}
    steps = {
        canonical_json.encode(
            {
                "step": trace.record.step,
                "implementation": trace.record.implementation,
                "tools": dict(trace.record.tools),
                "platform": dict(trace.record.platform),
            }
        )
        for trace in run.traces
    }
    machine = {name: run.built_by[name] for name in _MACHINE if name in run.built_by}
    return {"machine": machine, "steps": [json.loads(step) for step in sorted(steps)]}


def _inputs(artifact: Artifact) -> list[dict[str, Any]]:
    """Every source and each of its files by digest, in the order of the lock."""
    _carried(artifact, LOCK_FILE)
    lock = decode(artifact.read(LOCK_FILE), LOCK_FILE)
    return [resource for source in lock.sources for resource in _resources(source)]


def _resources(source: LockedSource) -> Iterator[dict[str, Any]]:
    if source.kind == "hub":
        uri = f"hf://{source.identity}@{source.pinned}"
        yield {"name": source.role, "uri": uri, "digest": {"gitCommit": source.pinned}}
    elif source.kind in ("artifact", "ollama") and source.pinned is not None:
        is_artifact = source.kind == "artifact"
        name = source.identity.partition("@")[0] if is_artifact else OllamaName.parse(source.identity).full
        uri = f"oci://{name}"
        yield {"name": source.role, "uri": uri, "digest": _sha256(Digest.parse(source.pinned))}
    for file in source.files:
        if file.derived:  # it follows from the other files
            continue
        yield {"name": f"{source.role}/{file.path}", "digest": _sha256(file.blob.digest)}


def _carried(artifact: Artifact, path: str) -> Digest:
    file = artifact.file(path)
    if file is None:
        raise NotRebuildable(
            f"the artifact contains no {path}", hint="only artifacts that mlxbuild built have a provenance"
        )
    return file.blob.digest


def _sha256(digest: Digest) -> dict[str, str]:
    return {"sha256": digest.hex}


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
