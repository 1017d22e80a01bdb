"""Decodes the content coding of a request's body (RFC 9110, section 8.4) piece by piece, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from mlxbuild.runtime.server.failures import ContentCodingNotSupported, InvalidRequest

_PIECE_BYTES = 256 * 1024
"""The largest decoded piece; a kilobyte may expand to a megabyte."""
_TAKEN_BYTES = 16 * 1024
"""How many bytes are decoded at once; at the end of each member the rest of them is copied."""
_MOST_MEMBERS = 1_000
"""The most gzip members: no other limit counts empty ones."""
_GZIP = 16 + zlib.MAX_WBITS


class Decoder(Protocol):
    """Decodes a body."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""

    def end(self) -> None:
        """Check that the body is complete.

        Raises:
            InvalidRequest: the body ends too early.
        """


def decoder(written: str) -> Decoder:
    """The decoder of a `Content-Encoding` header.

    Raises:
        ContentCodingNotSupported: the coding is neither gzip nor identity.
    """
    codings = [coding for each in written.lower().split(",") if (coding := each.strip()) not in ("", "identity")]
    if not codings:
        return _Identity()
    if codings in (["gzip"], ["x-gzip"]):
        return _Gzip()
    raise ContentCodingNotSupported(f"the content coding {', '.join(codings)} is not supported", hint="use gzip")


class _Identity:
    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        pass


class _Gzip:
    """Decodes one or more concatenated gzip members (RFC 1952, section 2.2), up to a limit."""

    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(_GZIP)
        self._is_within = True
        self._members = 1

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _TAKEN_BYTES):
            yield from self._inflated(data[start : start + _TAKEN_BYTES])

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflating.eof:
                self._next_member()
            self._is_within = True
            try:
                piece = self._inflating.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise InvalidRequest(f"the body is not gzip: {error}") from None
            data = self._inflating.unused_data if self._inflating.eof else self._inflating.unconsumed_tail
            self._is_within = not self._inflating.eof
            if piece:
                yield piece

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise InvalidRequest(
                f"the body has more than {_MOST_MEMBERS:,} gzip members", hint="compress it as a whole"
            )
        self._inflating = zlib.decompressobj(_GZIP)

    def end(self) -> None:
        if self._is_within:
            raise InvalidRequest("the body is not whole gzip: it ends too early")
