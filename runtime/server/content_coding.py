"""Undoes the content coding of a request's body (RFC 9110, section 8.4), piece by piece and in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from mlxbuild.runtime.server.failures import ContentCodingNotSupported, InvalidRequest

_PIECE_BYTES = 256 * 1024
"""A kilobyte can stand for a megabyte, so what comes out is handed on before there is too much of it."""
_TAKEN_BYTES = 16 * 1024
"""What is left of the bytes that are taken at once is copied at the end of each member."""
_MOST_MEMBERS = 1_000
"""Empty ones stand for nothing that any other bound would count."""
_GZIP = 16 + zlib.MAX_WBITS


class Decoder(Protocol):
    """Takes a coded body in."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes stand for."""

    def end(self) -> None:
        """There is no more.

        Raises:
            InvalidRequest: there should be.
        """


def decoder(written: str) -> Decoder:
    """The decoder of a `Content-Encoding` header.

    Raises:
        ContentCodingNotSupported: it is neither gzip nor nothing.
    """
    codings = [coding for each in written.lower().split(",") if (coding := each.strip()) not in ("", "identity")]
    if not codings:
        return _Identity()
    if codings in (["gzip"], ["x-gzip"]):
        return _Gzip()
    raise ContentCodingNotSupported(
        f"a body in the content coding {', '.join(codings)} is not read here", hint="use gzip"
    )


class _Identity:
    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        pass


class _Gzip:
    """One or more gzip members after each other (RFC 1952, section 2.2), of which there is a bound."""

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
