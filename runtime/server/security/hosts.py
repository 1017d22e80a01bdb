"""The host names of a server, which exclude names that others could point at this machine (DNS rebinding)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from mlxbuild.runtime.server.authority import Authority

_OF_CONTAINERS = frozenset(
    f"host.{network}.internal" for network in ("docker", "containers", "orb", "lima", "rancher-desktop")
)
"""Names by which programs in containers reach their host."""


def is_loopback(address: str) -> bool:
    """Whether an address is only reachable from this machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class HostNames:
    """The names of one server: local names, and those of the settings."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        self._others = frozenset(name.strip().lower().removesuffix(".") for name in others)
        machine = socket.gethostname().lower().removesuffix(".")
        self._machine = frozenset({machine, f"{machine.removesuffix('.local')}.local"})

    def are_told_by(self, header: str) -> bool:
        """Whether a `Host` header names this server.

        Contract: it is empty, or names a host that cannot be rebound, this machine by its own name, or the host of a
        container. Other names are refused, even under `.local` and `.internal`, as anyone who answers DNS queries in
        the network could point them here.
        """
        authority = Authority.parse(header)
        if authority is None:
            return False
        name = authority.host
        return name == "" or self.cannot_be_rebound(authority) or name in self._machine or name in _OF_CONTAINERS

    def cannot_be_rebound(self, authority: Authority) -> bool:
        """Whether a website under this name certainly belongs to this machine or its private network.

        Contract: a loopback, private or unspecified address; `localhost` and `*.localhost`, which browsers do not look
        up by DNS (RFC 6761); or a name in the settings.
        """
        name, address = authority.host, authority.address
        if address is not None:
            return address.is_loopback or address.is_private or address.is_unspecified or name in self._others
        return name == "localhost" or name.endswith(".localhost") or name in self._others
