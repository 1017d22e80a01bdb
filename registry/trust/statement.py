"""in-toto statements: subjects, given by digest, and a predicate about them.

Source: in-toto/attestation, spec/v1/statement.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.trust.errors import InvalidBundle

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a plain signature: an empty predicate, as `cosign sign` makes it."""
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
KINDS: Final = {SIGNATURE: "signature", PROVENANCE: "provenance", TEST_RESULT: "gates"}
"""Short names of predicate types, for display."""
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
"""The manifest annotation that holds the predicate type of a bundle."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement: a predicate about subjects that are identified by digest."""

    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def encode(self) -> bytes:
        """The bytes that are signed: canonical JSON."""
        subjects = [{"digest": {subject.algorithm: subject.hex}} for subject in self.subjects]
        return canonical_json.encode(
            {
                "_type": STATEMENT_TYPE,
                "subject": subjects,
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Statement:
        """Parse a statement; subjects without a sha256 digest are left out.

        Raises:
            InvalidBundle: the bytes are not a statement.
        """
        try:
            document = json.loads(data)
            if document["_type"] != STATEMENT_TYPE:
                raise InvalidBundle(f"the statement is of the type `{document['_type']}`")
            named = [subject["digest"].get("sha256") for subject in document["subject"]]
            subjects = tuple(Digest.parse(f"sha256:{text}") for text in named if text is not None)
            kind, predicate = document["predicateType"], document.get("predicate")
            if not isinstance(kind, str) or not kind.isprintable():
                raise InvalidBundle("the statement has no type")
            if not isinstance(predicate, dict | None):
                raise InvalidBundle("the predicate is not a JSON object")
            canonical_json.encode(predicate)  # fails on lone surrogates and NaN, which other JSON parsers reject
            return cls(subjects, kind, predicate or {})
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError, InvalidDigest) as error:
            raise InvalidBundle(f"the payload is not an in-toto statement ({error!r})") from None
