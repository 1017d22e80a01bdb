"""DSSE envelopes: a payload with its type, and signatures over both. What a payload means is known beside this.

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
    """A signed payload; only after `signer` names a key may the payload be believed."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, key: PrivateKey) -> Envelope:
        """An envelope with one signature."""
        return cls(payload_type, payload, (key.sign(pre_authentication(payload_type, payload)),))

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of some keys that one of the signatures was made with."""
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
        """Read what `to_json` gives; standard and URL-safe base64 are both allowed.

        Raises:
            InvalidBundle: it is something else.
        """
        try:
            return cls(
                str(document["payloadType"]),
                _decode(document["payload"]),
                tuple(_decode(signature["sig"]) for signature in document["signatures"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InvalidBundle(f"it holds no DSSE envelope ({error!r})") from None


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (PAE): lengths first, so that type and payload cannot be shifted."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decode(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
