"""DSSE envelopes: a payload with its type, and signatures over both.

Source: secure-systems-lab/dsse, protocol.md and envelope.md.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.trust.errors import InvalidBundle
from mlxbuild.registry.trust.keys import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed payload; trust the payload only after `signer` has returned a key."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, key: PrivateKey) -> Envelope:
        """An envelope with one signature."""
        return cls(payload_type, payload, (key.sign(pre_authentication(payload_type, payload)),))

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of some keys that made one of the signatures; None if none did."""
        signed = pre_authentication(self.payload_type, self.payload)
        matching = (key for key in keys for signature in self.signatures if key.verifies(signature, signed))
        return next(matching, None)

    def to_json(self) -> dict[str, Any]:
        """The envelope's JSON form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode()} for signature in self.signatures],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Envelope:
        """Parse the JSON form; both standard and URL-safe base64 are allowed.

        Raises:
            InvalidBundle: the document is not an envelope.
        """
        try:
            return cls(
                str(document["payloadType"]),
                _decode(document["payload"]),
                tuple(_decode(signature["sig"]) for signature in document["signatures"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InvalidBundle(f"it has no DSSE envelope ({error!r})") from None


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (pre-authentication encoding, PAE); length prefixes keep type and payload apart."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decode(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
