"""Signs an artifact and its evidence, and verifies evidence that others have signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.referrers import Referrer, attach, referrers
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.trust.evidence import Evidence, sign, signature
from mlxbuild.registry.trust.keys import PrivateKey, PublicKey
from mlxbuild.registry.trust.statement import PROVENANCE, TEST_RESULT, Statement
from mlxbuild.toolchain.evidence.bill_of_materials import MEDIA_TYPE, bill_of_materials
from mlxbuild.toolchain.evidence.gate_results import gate_results
from mlxbuild.toolchain.evidence.known_run import find_run
from mlxbuild.toolchain.evidence.provenance import contradictions, is_ours, provenance
from mlxbuild.toolchain.rebuild import LOCK_FILE, RECIPE_FILE, NotRebuildable


class EvidenceContradicts(TrustError):
    """Signed evidence contradicts the artifact that it is attached to."""

    code = "evidence-contradicts"


@dataclass(frozen=True, slots=True)
class Signed:
    """The evidence that was attached to an artifact."""

    signature: Referrer
    bill_of_materials: Referrer | None = None
    provenance: Referrer | None = None
    gate_results: Referrer | None = None


def sign_artifact(artifact: Artifact, key: PrivateKey) -> Signed:
    """Sign an artifact, its provenance and the results of its gates, and attach its bill of materials.

    An artifact without recipe and lock, which mlxbuild did not build, gets a signature alone. Nothing is signed twice,
    and a provenance with details of the run is never replaced by one without, because the run has been forgotten.

    Raises:
        DamagedLock, BlobMissing, BlobCorrupt: the artifact cannot be read.
        DiskFull, StoreReadOnly, StoreFailure: evidence could not be stored; what was attached before remains.
    """
    store, subject = artifact.store, artifact.digest
    if artifact.file(RECIPE_FILE) is None or artifact.file(LOCK_FILE) is None:
        return Signed(sign(store, key, signature(subject)))
    run = find_run(store.home, subject)
    bill = _attach_once(artifact, bill_of_materials(artifact))
    content = bill.manifest.layers[0].blob.digest
    made = _told_before(artifact, key.public) if run is None else None
    made = made or sign(store, key, Statement((subject,), PROVENANCE, provenance(artifact, run, content)))
    results = gate_results(artifact, run)
    tested = None if results is None else sign(store, key, Statement((subject,), TEST_RESULT, results))
    # The signature comes last: an artifact that counts as signed has all other evidence already.
    return Signed(sign(store, key, signature(subject)), bill, made, tested)


def check_evidence(artifact: Artifact, keys: Sequence[PublicKey]) -> Evidence:
    """Check offline that one of some keys signed an artifact, and that the signed evidence agrees with it.

    Raises:
        Untrusted: none of the keys has signed it.
        EvidenceContradicts: a provenance is of another recipe, lock or input, or its bill of materials is missing.
        BlobMissing, BlobCorrupt: the artifact cannot be read.
    """
    evidence = Evidence.gather(artifact.store, artifact.digest, keys)
    evidence.require_signature(str(artifact.digest))
    for statement in evidence.proven(PROVENANCE):
        try:
            problems = contradictions(statement.predicate, artifact)
        except NotRebuildable as error:
            problems = (f"there is a provenance, but {error.message}",)
        if problems:
            raise EvidenceContradicts(
                "; ".join(problems), where=str(artifact.digest), hint="do not use it; ask who signed it"
            )
    return evidence


def _told_before(artifact: Artifact, key: PublicKey) -> Referrer | None:
    """The newest provenance that a key signed for an artifact and that agrees with it, or None."""
    sound = [each for each in Evidence.gather(artifact.store, artifact.digest, [key]).attestations if not each.problem]
    for each in reversed(sound):
        predicate = {} if each.statement is None else each.statement.predicate
        if is_ours(predicate) and not contradictions(predicate, artifact):
            return each.referrer
    return None


def _attach_once(artifact: Artifact, document: bytes) -> Referrer:
    blob = artifact.store.put(document)
    for referrer in referrers(artifact.store, artifact.digest):
        if referrer.artifact_type == MEDIA_TYPE and referrer.content == blob:
            return referrer
    return attach(artifact.store, artifact.digest, document, MEDIA_TYPE, {})
