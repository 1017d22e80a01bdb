"""Which `Host` headers a server on loopback takes: a website whose name was rebound to this machine has another one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache

_LOCAL_ENDINGS = (".localhost", ".local", ".internal")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def is_local_host(header: str, others: Iterable[str] = ()) -> bool:
    """Whether a `Host` header names this machine, or one of the other names that it is known by.

    Contract: empty, `localhost`, the machine's name, `*.localhost`, `*.local`, `*.internal`, or a loopback, private,
    unspecified or local address, with any port.
    """
    name = _without_port(header.strip().lower()).rstrip(".")
    if name in ("", "localhost", _machine_name()) or name.endswith(_LOCAL_ENDINGS) or name in others:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    name, _, port = header.rpartition(":")
    return name if name and port.isdigit() and ":" not in name else header


@lru_cache(maxsize=1)
def _machine_name() -> str:
    return socket.gethostname().lower()
