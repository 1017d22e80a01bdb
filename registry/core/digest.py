"""Content digests and blobs as types. Files are hashed where they are streamed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from mlxbuild.registry.core.errors import UserError

_GRAMMAR = re.compile(r"(sha256|blake3):([0-9a-f]{64})")


class InvalidDigest(UserError):
    """A text is not `sha256:<64 hex>` or `blake3:<64 hex>`."""

    code = "invalid-digest"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and 64 lowercase hexadecimal digits; prints as `algorithm:hex` (OCI image-spec, descriptor)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex`.

        Raises:
            InvalidDigest: the text has another form.
        """
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise InvalidDigest(f"`{text}` is not a digest", hint="write sha256: and 64 lowercase hex digits")
        return cls(match[1], match[2])

    @classmethod
    def of_bytes(cls, data: bytes) -> Digest:
        """The sha256 of some bytes."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, for display."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A blob: its digest and its size in bytes."""

    digest: Digest
    size_bytes: int
