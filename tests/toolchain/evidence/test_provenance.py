"""Provenance: what it tells, and that one of another recipe, lock or input is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.registry.trust.evidence import sign, signature
from mlxbuild.registry.trust.keys import PrivateKey
from mlxbuild.registry.trust.statement import PROVENANCE, SIGNATURE, TEST_RESULT, Statement
from mlxbuild.toolchain.cache.traces import Trace
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import action_key
from mlxbuild.toolchain.evidence.bill_of_materials import bill_of_materials
from mlxbuild.toolchain.evidence.known_run import KnownRun
from mlxbuild.toolchain.evidence.provenance import BUILD_TYPE, contradictions, provenance
from mlxbuild.toolchain.evidence.signing import EvidenceContradicts, check_evidence, sign_artifact
from tests.toolchain.evidence.conftest import COMMIT

BUILT_BY = {"mlxbuild": "0.1.0", "python": "3.11.7", "system": "Linux", "machine": "x86_64"}


def _trace(step: str, implementation: int, output: Blob) -> Trace:
    record = ActionRecord(step, implementation, {"n": output.size_bytes}, {}, {"mlx": "1.0"} if step != "pack" else {})
    return Trace(action_key(record), record, {"out": output}, 1.0)


@pytest.fixture
def run() -> KnownRun:
    """A run of three actions, two of them of one kind."""
    blobs = [Blob(Digest.of_bytes(bytes([number])), number) for number in range(3)]
    steps = zip(("quantize", "quantize", "pack"), (1, 1, 2), blobs, strict=True)
    traces = tuple(_trace(*each) for each in steps)
    return KnownRun("run-1", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", BUILT_BY, traces)


@pytest.fixture
def predicate(artifact: Artifact, run: KnownRun) -> dict[str, Any]:
    """The provenance of the artifact."""
    return provenance(artifact, run, artifact.store.put(bill_of_materials(artifact)).digest)


def test_it_names_every_input_by_digest(predicate: dict[str, Any]) -> None:
    assert predicate["buildDefinition"]["resolvedDependencies"] == [
        {"name": "base", "uri": f"hf://acme/base@{COMMIT}", "digest": {"gitCommit": COMMIT}},
        {"name": "base/model.safetensors", "digest": {"sha256": Digest.of_bytes(b"weights").hex}},
        {"name": "tokenizer", "uri": "oci://ghcr.io/acme/words:1.0", "digest": {"sha256": Digest.of_bytes(b"x").hex}},
        {"name": "tokenizer/tokenizer.json", "digest": {"sha256": Digest.of_bytes(b"w").hex}},
    ]


def test_it_tells_recipe_lock_tools_machine_and_times(predicate: dict[str, Any], artifact: Artifact) -> None:
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert definition["buildType"] == BUILD_TYPE
    recipe = definition["externalParameters"]["recipe"]
    assert recipe["content"]["name"] == "hello"
    assert recipe["digest"]["sha256"] in artifact.annotations["dev.mlxbuild.spec.digest"]
    inner = definition["internalParameters"]
    assert inner["lock"]["digest"]["sha256"] in artifact.annotations["dev.mlxbuild.lock.digest"]
    assert inner["machine"] == {"system": "Linux", "machine": "x86_64"}
    assert inner["steps"] == [
        {"step": "quantize", "implementation": 1, "tools": {"mlx": "1.0"}, "platform": {}},
        {"step": "pack", "implementation": 2, "tools": {}, "platform": {}},
    ]
    assert details["builder"]["version"] == {"mlxbuild": "0.1.0", "python": "3.11.7"}
    assert details["metadata"] == {
        "invocationId": "run-1",
        "startedOn": "2026-01-01T00:00:00Z",
        "finishedOn": "2026-01-01T00:01:00Z",
    }


def test_without_a_known_run_it_claims_no_times_machine_or_tools(artifact: Artifact) -> None:
    predicate = provenance(artifact, None, artifact.store.put(bill_of_materials(artifact)).digest)
    assert set(predicate["buildDefinition"]["internalParameters"]) == {"lock"}
    assert set(predicate["runDetails"]) == {"builder", "byproducts"}
    assert contradictions(predicate, artifact) == ()


def test_it_agrees_with_its_artifact_and_no_other(
    predicate: dict[str, Any], artifact: Artifact, make_artifact: Callable[..., Artifact]
) -> None:
    assert contradictions(predicate, artifact) == ()
    assert "another recipe" in contradictions(predicate, make_artifact("Be brief."))[0]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("buildDefinition", "externalParameters"), {}, "another recipe"),
        (("buildDefinition", "externalParameters", "recipe", "content", "system_prompt"), "Lie.", "another recipe"),
        (("buildDefinition", "internalParameters", "lock"), None, "another lock"),
        (("buildDefinition", "internalParameters", "lock", "digest"), {"sha256": "0" * 64}, "another lock"),
        (("buildDefinition", "resolvedDependencies"), [], "other inputs"),
        (("runDetails", "byproducts"), [], "names no bill"),
        (("runDetails", "byproducts"), [{"name": "bill of materials", "digest": {"sha256": "x"}}], "names no bill"),
        (("runDetails", "byproducts"), [{"name": "bill of materials", "digest": {"sha256": "0" * 64}}], "is missing"),
    ],
)
def test_every_lie_is_found(
    predicate: dict[str, Any], artifact: Artifact, path: tuple[str, ...], value: Any, reason: str
) -> None:
    lie = copy.deepcopy(predicate)
    place = lie
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (told,) = contradictions(lie, artifact)
    assert reason in told


def test_what_is_signed_is_checked_whole(artifact: Artifact, key: PrivateKey) -> None:
    signed = sign_artifact(artifact, key)
    evidence = check_evidence(artifact, [key.public])
    assert [each.kind for each in evidence.attestations] == ["provenance", "signature"]
    assert evidence.proven(SIGNATURE)
    assert evidence.proven(PROVENANCE)
    assert not evidence.proven(TEST_RESULT)
    assert [each.digest for each in evidence.documents] == [
        signed.bill_of_materials and signed.bill_of_materials.digest
    ]
    assert sign_artifact(artifact, key) == signed


def test_an_unsigned_artifact_and_a_wrong_key_are_refused(
    artifact: Artifact, key: PrivateKey, other_key: PrivateKey
) -> None:
    with pytest.raises(Untrusted, match="not signed"):
        check_evidence(artifact, [key.public])
    sign_artifact(artifact, key)
    with pytest.raises(Untrusted, match="another key") as refused:
        check_evidence(artifact, [other_key.public])
    assert refused.value.exit_code == 10


def test_signed_provenance_of_another_recipe_is_refused(
    artifact: Artifact, make_artifact: Callable[..., Artifact], key: PrivateKey
) -> None:
    other = make_artifact("Be brief.")
    lie = provenance(other, None, artifact.store.put(bill_of_materials(artifact)).digest)
    sign(artifact.store, key, signature(artifact.digest))
    sign(artifact.store, key, Statement((artifact.digest,), PROVENANCE, lie))
    with pytest.raises(EvidenceContradicts, match="another recipe") as refused:
        check_evidence(artifact, [key.public])
    assert refused.value.exit_code == 10


def test_provenance_of_another_build_system_is_not_judged(
    make_artifact: Callable[..., Artifact], key: PrivateKey
) -> None:
    foreign = make_artifact(carries=False)
    sign_artifact(foreign, key)
    theirs = {"buildDefinition": {"buildType": "https://example.org/build"}, "runDetails": {}}
    sign(foreign.store, key, Statement((foreign.digest,), PROVENANCE, theirs))
    assert check_evidence(foreign, [key.public]).proven(PROVENANCE)


def test_our_provenance_on_an_artifact_without_a_recipe_is_refused(
    predicate: dict[str, Any], make_artifact: Callable[..., Artifact], key: PrivateKey
) -> None:
    foreign = make_artifact(carries=False)
    sign_artifact(foreign, key)
    sign(foreign.store, key, Statement((foreign.digest,), PROVENANCE, predicate))
    with pytest.raises(EvidenceContradicts, match="contains no mlxbuild"):
        check_evidence(foreign, [key.public])


def test_a_strangers_lie_harms_nobody(
    artifact: Artifact, make_artifact: Callable[..., Artifact], key: PrivateKey, other_key: PrivateKey
) -> None:
    sign_artifact(artifact, key)
    lie = provenance(make_artifact("Be brief."), None, artifact.digest)
    sign(artifact.store, other_key, Statement((artifact.digest,), PROVENANCE, lie))
    assert check_evidence(artifact, [key.public]).proven(SIGNATURE)


def test_a_bill_of_materials_that_is_gone_or_damaged_is_noticed(artifact: Artifact, key: PrivateKey) -> None:
    bill = sign_artifact(artifact, key).bill_of_materials
    assert bill is not None
    assert bill.content is not None
    path = artifact.store.path(bill.content.digest)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    with pytest.raises(TrustError, match="damaged"):
        check_evidence(artifact, [key.public])
    artifact.store.remove(bill.content.digest)
    with pytest.raises(EvidenceContradicts, match="is missing"):
        check_evidence(artifact, [key.public])


def test_an_artifact_that_others_built_gets_a_signature_alone(
    make_artifact: Callable[..., Artifact], key: PrivateKey
) -> None:
    foreign = make_artifact(carries=False)
    signed = sign_artifact(foreign, key)
    assert (signed.provenance, signed.bill_of_materials, signed.gate_results) == (None, None, None)
    assert check_evidence(foreign, [key.public]).proven(SIGNATURE)
