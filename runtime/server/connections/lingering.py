"""Lingering close: a connection's last answer can be read though its client is still sending (RFC 9112, section 9.6).

A close with unread bytes resets the connection, and the reset takes along what the client has not read by then.
"""

from __future__ import annotations

import asyncio

LINGERING_SECONDS = 5.0
"""How long what a client still sends is read, and dropped."""
_MOST = 128
"""Connections that linger at once: they count as none, and each takes one of the reserved descriptors."""


class LingeringClose(asyncio.Protocol):
    """What a connection is at its end: our side is shut, and what still comes is dropped until the client's is, too."""

    def __init__(self, transport: asyncio.Transport, lingering: set[LingeringClose]) -> None:
        """Takes the place of the transport's protocol."""
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
        """Close it at once."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        if self in self._lingering:
            self._lingering.discard(self)
            self._timer.cancel()
