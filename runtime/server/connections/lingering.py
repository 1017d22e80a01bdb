"""Lingering close, so that a client that is still sending can read the last response (RFC 9112, section 9.6).

Closing a socket with unread bytes resets the connection, which discards what the client has not read by then.
"""

from __future__ import annotations

import asyncio

LINGERING_SECONDS = 5.0
"""How long the data that a client still sends is read and dropped."""
_MOST = 128
"""The most lingering connections: they do not count towards the limit, but each takes a reserved descriptor."""


class LingeringClose(asyncio.Protocol):
    """The protocol of a closing connection: our side is shut, and data is dropped until the client closes its side."""

    def __init__(self, transport: asyncio.Transport, lingering: set[LingeringClose]) -> None:
        """Replace the transport's protocol."""
        self._transport = transport
        self._lingering = lingering
        transport.set_protocol(self)
        if len(lingering) >= _MOST or transport.is_closing():
            transport.close()
            return
        lingering.add(self)
        self._timer = asyncio.get_running_loop().call_later(LINGERING_SECONDS, transport.abort)
        try:
            transport.write_eof()
        except OSError:  # the client has reset it
            transport.abort()
        transport.resume_reading()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up when the connection is closed."""
        if self in self._lingering:
            self._lingering.discard(self)
            self._timer.cancel()
