"""Finds the server's address from its own settings. It imports little, because every `mlxbuild run` uses it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.setting_files import read_settings
from mlxbuild.registry.oci.remote.settings import FILE_NAME, SERVE_KEY

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
HOST_VARIABLES = ("MLXBUILD_HOST", "OLLAMA_HOST")
PORT_VARIABLE = "MLXBUILD_PORT"
_SCHEME_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_CONNECT_SECONDS = 2.0


def server_address(home: Home, environment: Mapping[str, str]) -> tuple[str, int]:
    """The host and port to connect to. Invalid settings are ignored here, and reported by `configure`."""
    host, port = _from_file(home)
    if (written := host_written(environment)) is not None:
        host, port = split_address(written[0])
    if (text := cleaned(environment.get(PORT_VARIABLE))).isdigit():
        port = int(text)
    return _EVERYWHERE.get(host, host), port or DEFAULT_PORT


def is_listening(host: str, port: int) -> bool:
    """Whether a process listens on a port."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def host_written(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The address in the environment, and the name of its variable."""
    return next(((value, name) for name in HOST_VARIABLES if (value := cleaned(environment.get(name)))), None)


def split_address(written: str) -> tuple[str, int | None]:
    """The host and port of `[scheme://]host[:port][/path]`; the port is None if it is missing or invalid.

    A scheme without a port implies the scheme's port; an invalid port means the default one.
    """
    scheme, separator, rest = written.partition("://")
    if not separator:
        scheme, rest = "", written
    address = rest.partition("/")[0]
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError:
        return _without_port(address), None
    return parts.hostname or DEFAULT_HOST, port if port is not None else _SCHEME_PORTS.get(scheme.lower())


def _without_port(address: str) -> str:
    try:
        return urlsplit(f"//{address.rpartition(':')[0]}").hostname or DEFAULT_HOST
    except ValueError:
        return address  # not an address, which the resolver will report


def cleaned(value: str | None) -> str:
    """The value without the spaces and quotes that service files may leave around it."""
    return (value or "").strip().strip("\"'").strip()


def _from_file(home: Home) -> tuple[str, int | None]:
    section = read_settings(home.root / FILE_NAME).get(SERVE_KEY)
    if not isinstance(section, dict):
        return DEFAULT_HOST, None
    host, port = section.get("host"), section.get("port")
    return host if isinstance(host, str) else DEFAULT_HOST, port if type(port) is int else None  # `true` is not a port
