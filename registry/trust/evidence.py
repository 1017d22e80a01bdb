"""Gathers the evidence attached to an artifact in the store: signed statements with their signers, and documents.

Only signatures and subjects are checked here, not the contents of predicates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlxbuild.registry.artifact.referrers import Referrer, attach, referrers
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, BlobTooLarge, Store
from mlxbuild.registry.trust.bundle import BUNDLE_TYPE, read_bundle, sign_statement
from mlxbuild.registry.trust.errors import InvalidBundle, Untrusted
from mlxbuild.registry.trust.keys import PrivateKey, PublicKey
from mlxbuild.registry.trust.statement import KINDS, PREDICATE_ANNOTATION, SIGNATURE, Statement

CONTENT_ANNOTATION = "dev.sigstore.bundle.content"
CREATED = "org.opencontainers.image.created"
_BUNDLE_FAMILY = "application/vnd.dev.sigstore.bundle"
_BUNDLE_LIMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Attestation:
    """One bundle that refers to an artifact."""

    referrer: Referrer
    statement: Statement | None
    """The signed statement; None if it cannot be read."""
    signer: PublicKey | None
    """The known key that signed it."""
    problem: str | None
    """Why it proves nothing about the artifact: no known key signed it, it has another subject, or it is damaged."""

    @property
    def predicate_type(self) -> str:
        """The predicate type of the statement, as far as it can be read."""
        return "" if self.statement is None else self.statement.predicate_type

    @property
    def kind(self) -> str:
        """The predicate type by its short name, if it has one."""
        return KINDS.get(self.predicate_type) or self.predicate_type or "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All evidence in the store about one artifact."""

    subject: Digest
    attestations: tuple[Attestation, ...]
    documents: tuple[Referrer, ...]
    """Referrers that are not bundles, and so carry no signature of their own."""

    @classmethod
    def gather(cls, store: Store, subject: Digest, keys: Sequence[PublicKey]) -> Evidence:
        """Read all referrers of an artifact in the store.

        Raises:
            StoreFailure: the store cannot be read.
        """
        found = referrers(store, subject)
        bundles = [each for each in found if each.artifact_type.startswith(_BUNDLE_FAMILY)]
        return cls(
            subject,
            tuple(_examine(store, bundle, subject, keys) for bundle in bundles),
            tuple(each for each in found if each not in bundles),
        )

    def proven(self, predicate_type: str) -> tuple[Statement, ...]:
        """The statements of one kind that a known key signed for this artifact."""
        sound = (each for each in self.attestations if each.problem is None and each.statement is not None)
        return tuple(each.statement for each in sound if each.predicate_type == predicate_type and each.statement)

    def require_signature(self, where: str) -> None:
        """Refuse an artifact that no known key signed.

        Raises:
            Untrusted: no known key signed it; the message lists every reason found.
        """
        if self.proven(SIGNATURE):
            return
        problems = dict.fromkeys(each.problem for each in self.attestations if each.problem is not None)
        if problems:
            raise Untrusted(f"no signature is valid: {'; '.join(problems)}", where=where, hint=_HINT)
        if self.attestations:
            raise Untrusted("the key signed evidence, but not the artifact itself", where=where, hint=_HINT)
        raise Untrusted("the artifact is not signed", where=where, hint="`mlxbuild sign NAME --key KEY` signs it")


_HINT = "use another key or artifact; its maker signs with `mlxbuild sign`"


def sign(store: Store, key: PrivateKey, statement: Statement) -> Referrer:
    """Sign a statement about one artifact and attach it; a statement that the key has signed is not signed again.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: nothing was attached.
    """
    (subject,) = statement.subjects
    for attestation in Evidence.gather(store, subject, [key.public]).attestations:
        if attestation.problem is None and attestation.statement == statement:
            return attestation.referrer
    annotations = {
        CONTENT_ANNOTATION: "dsse-envelope",
        PREDICATE_ANNOTATION: statement.predicate_type,
        CREATED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return attach(store, subject, sign_statement(key, statement), BUNDLE_TYPE, annotations)


def signature(subject: Digest) -> Statement:
    """The statement of a plain signature, with an empty predicate."""
    return Statement((subject,), SIGNATURE, {})


def _examine(store: Store, referrer: Referrer, subject: Digest, keys: Sequence[PublicKey]) -> Attestation:
    statement: Statement | None = None
    signer: PublicKey | None = None
    problem: str | None = None
    try:
        if referrer.content is None:
            raise InvalidBundle("its manifest does not have exactly one layer")
        envelope = read_bundle(store.read(referrer.content.digest, limit_bytes=_BUNDLE_LIMIT_BYTES))
        statement = Statement.decode(envelope.payload)
        signer = envelope.signer(keys)
        if signer is None:
            problem = f"{referrer.digest.short} is signed by another key"
        elif subject not in statement.subjects:
            named = ", ".join(str(each) for each in statement.subjects) or "nothing"
            problem = f"{referrer.digest.short} is a signature for another artifact ({named})"
    except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidBundle) as error:
        problem = f"{referrer.digest.short} cannot be read: {error.message}"
    return Attestation(referrer, statement, signer, problem)
