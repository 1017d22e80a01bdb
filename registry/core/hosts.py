"""Registry hosts, and which spellings of them are equivalent."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

DOCKER = "docker.io"
_DOCKER_HOSTS = frozenset({DOCKER, "index.docker.io", "registry-1.docker.io"})
_DEFAULT_PORTS = (80, 443)
_PORT = re.compile(r":(?P<port>[0-9]{1,5})\Z")


def canonical_host(host: str) -> str:
    """The host, with every name of Docker's registry replaced by `docker.io`."""
    return DOCKER if host in _DOCKER_HOSTS else host


def comparable_host(host: str) -> str:
    """A normalized `host[:port]` for comparison: lowercase, without a default port, IPv6 addresses in short form."""
    host, port = host.lower(), ""
    if found := _PORT.search(host):
        number = int(found["port"])
        host, port = host[: found.start()], "" if number in _DEFAULT_PORTS else f":{number}"
    if host.startswith("[") and host.endswith("]"):
        with suppress(ValueError):
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    return canonical_host(host) + port


def spellings(host: str) -> frozenset[str]:
    """The spellings of a host that a pattern may use: the given one and the usual ones."""
    compared = comparable_host(host)
    names = _DOCKER_HOSTS if compared == DOCKER else {compared}
    with_port = () if _PORT.search(compared) else (f"{name}:443" for name in names)
    return frozenset({host, *names, *with_port})
