"""By which names a server is known. A name that others can point at this machine (DNS rebinding) is none of them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from mlxbuild.runtime.server.authority import Authority

_OF_CONTAINERS = frozenset(
    f"host.{network}.internal" for network in ("docker", "containers", "orb", "lima", "rancher-desktop")
)
"""Names by which container engines let programs in containers reach their host."""


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class HostNames:
    """The names of one server: local ones, and those of the settings."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        self._others = frozenset(name.strip().lower().removesuffix(".") for name in others)
        machine = socket.gethostname().lower().removesuffix(".")
        self._machine = frozenset({machine, f"{machine.removesuffix('.local')}.local"})

    def are_told_by(self, header: str) -> bool:
        """Whether a `Host` header names this server.

        Contract: it is empty, or names a host that cannot be rebound, this machine by its own name, or the host of a
        container. No other names, under `.local` and `.internal` neither: whoever answers names in a network could
        point them here.
        """
        authority = Authority.parse(header)
        if authority is None:
            return False
        name = authority.host
        return name == "" or self.cannot_be_rebound(authority) or name in self._machine or name in _OF_CONTAINERS

    def cannot_be_rebound(self, authority: Authority) -> bool:
        """Whether a website under this name is of this machine or its private network for certain.

        Contract: a loopback, private or unspecified address; `localhost` and `*.localhost`, which browsers look up
        nowhere (RFC 6761); a name that the settings vouch for.
        """
        name, address = authority.host, authority.address
        if address is not None:
            return address.is_loopback or address.is_private or address.is_unspecified or name in self._others
        return name == "localhost" or name.endswith(".localhost") or name in self._others
