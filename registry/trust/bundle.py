"""Sigstore bundles v0.3 of key-signed statements, in the form that `cosign verify --key` takes.

Certificates and transparency log entries in bundles of other tools are ignored.
Source: sigstore/protobuf-specs, sigstore_bundle.proto.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.trust.dsse import Envelope
from mlxbuild.registry.trust.errors import InvalidBundle
from mlxbuild.registry.trust.keys import PrivateKey
from mlxbuild.registry.trust.statement import PAYLOAD_TYPE, Statement

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BUNDLE_FAMILY = "application/vnd.dev.sigstore.bundle"


def sign_statement(key: PrivateKey, statement: Statement) -> bytes:
    """Sign a statement and return its bundle."""
    hint = base64.b64encode(bytes.fromhex(key.public.fingerprint.hex)).decode()
    return canonical_json.encode(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": Envelope.sign(PAYLOAD_TYPE, statement.encode(), key).to_json(),
        }
    )


def read_bundle(data: bytes) -> Envelope:
    """The envelope of a bundle, not verified.

    Raises:
        InvalidBundle: the bytes are not a bundle of an in-toto statement.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle(f"it is not JSON: {error}") from None
    if not isinstance(document, dict) or not str(document.get("mediaType")).startswith(_BUNDLE_FAMILY):
        raise InvalidBundle("it is not a Sigstore bundle")
    content = document.get("dsseEnvelope")
    if not isinstance(content, dict):
        raise InvalidBundle("it does not sign a statement")
    envelope = Envelope.from_json(content)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise InvalidBundle(f"it signs `{envelope.payload_type}`, not a statement")
    return envelope
