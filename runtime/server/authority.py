"""Host and port as in `Host` headers, request targets and origins (RFC 3986, section 3.2, without user info)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]*))(?::(?P<port>[0-9]{0,5}))?")
_MOST_PORTS = 65_535


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and an optional port."""

    host: str
    """The host in lowercase, without a trailing dot; an IPv6 address has no brackets. May be empty."""
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """Parse `name`, `1.2.3.4` or `[::1]`, each with or without a port; None for any other text."""
        match = _WRITTEN.fullmatch(text.lower())
        if match is None:
            return None
        port = int(match["port"]) if match["port"] else None
        if port is not None and port > _MOST_PORTS:
            return None
        if match["address"] is None:
            return cls(match["name"].removesuffix("."), port)
        try:
            return cls(str(ipaddress.IPv6Address(match["address"])), port)
        except ValueError:
            return None

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address; None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None
