"""Host and port as `Host` headers, request targets and origins write them (RFC 3986, section 3.2, without users)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]*))(?::(?P<port>[0-9]{0,5}))?")
_MOST_PORTS = 65_535


@dataclass(frozen=True, slots=True)
class Authority:
    """Who is asked."""

    host: str
    """In lowercase, without a dot at its end; an IPv6 address without its brackets. May be empty."""
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """None for a text that is not wholly `name`, `1.2.3.4` or `[::1]`, each with or without a port."""
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
        """The address that the host is written as; None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None
