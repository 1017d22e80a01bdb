"""Hosts of registries: which spellings mean the same one."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

DOCKER = "docker.io"
_DOCKER_HOSTS = frozenset({DOCKER, "index.docker.io", "registry-1.docker.io"})
_DEFAULT_PORTS = (80, 443)
_PORT = re.compile(r":(?P<port>[0-9]{1,5})\Z")


def canonical_host(host: str) -> str:
    """One name for the many of Docker's registry."""
    return DOCKER if host in _DOCKER_HOSTS else host


def comparable_host(host: str) -> str:
    """One spelling of a `host[:port]`, for comparing: lowercase, without a default port, an address at its shortest."""
    host, port = host.lower(), ""
    if found := _PORT.search(host):
        number = int(found["port"])
        host, port = host[: found.start()], "" if number in _DEFAULT_PORTS else f":{number}"
    if host.startswith("[") and host.endswith("]"):
        with suppress(ValueError):
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    return canonical_host(host) + port


def spellings(host: str) -> frozenset[str]:
    """The spellings of a host that patterns may have in mind: as it came, and all that are usual."""
    compared = comparable_host(host)
    names = _DOCKER_HOSTS if compared == DOCKER else {compared}
    with_port = () if _PORT.search(compared) else (f"{name}:443" for name in names)
    return frozenset({host, *names, *with_port})
