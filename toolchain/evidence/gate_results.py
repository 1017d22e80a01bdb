"""The gate results of an artifact as an in-toto test result, which is signed like any other statement.

Source: in-toto/attestation, spec/predicates/test-result.md; `results` is an extension by mlxbuild.
"""

from __future__ import annotations

import json
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.evidence.known_run import KnownRun
from mlxbuild.toolchain.gates.result import GateResult
from mlxbuild.toolchain.rebuild import RECIPE_FILE


def gate_results(artifact: Artifact, run: KnownRun | None) -> dict[str, Any] | None:
    """The predicate with the gate results from when the artifact was built; None if they are not known.

    Raises:
        BlobCorrupt: a gate result is damaged.
    """
    recipe = artifact.file(RECIPE_FILE)
    results = sorted(_results(artifact, run), key=lambda result: result.name)
    if recipe is None or not results:
        return None
    return {
        "result": "PASSED" if all(result.passed for result in results) else "FAILED",
        "configuration": [{"name": RECIPE_FILE, "digest": {"sha256": recipe.blob.digest.hex}}],
        "passedTests": [result.name for result in results if result.passed],
        "warnedTests": [],
        "failedTests": [result.name for result in results if not result.passed],
        "results": [result.to_json() for result in results],
    }


def _results(artifact: Artifact, run: KnownRun | None) -> list[GateResult]:
    gates = [trace for trace in (run.traces if run else ()) if trace.record.step == "gate"]
    blobs = [trace.outputs["result"].digest for trace in gates]
    return [GateResult.from_json(json.loads(artifact.store.read(blob))) for blob in blobs if artifact.store.has(blob)]
