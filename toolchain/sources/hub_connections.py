"""Applies our time limits to the Hub client's connections, since its own start again with every byte.

The client has no option for it, so a network backend is put below the connection pools of the session that it uses.
For requests outside of a build, such as those of another library in this process, nothing changes.
"""

from __future__ import annotations

import importlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.util.wait import wait_for_read

from mlxbuild.registry.oci.remote import watch as watches
from mlxbuild.registry.oci.remote.sockets import EncryptedSocket, connect
from mlxbuild.toolchain.sources.hub_errors import client_utilities

_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def watch_client() -> None:
    """Make the client's current session use watched connections."""
    session = client_utilities().get_session()
    for transport in (session._transport, *session._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if backend is not None and not isinstance(backend, _Backend):
            core = importlib.import_module(type(pool).__module__.partition(".")[0])
            pool._network_backend = _Backend(core, backend)


class _Backend:
    """A network backend for httpcore."""

    def __init__(self, core: Any, unwatched: Any) -> None:
        self._core, self._unwatched = core, unwatched

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        if watches.current() is None:
            return self._unwatched.connect_tcp(host, port, timeout, local_address, socket_options)
        with _told_as(self._core.ConnectError):
            return _Stream(self._core, connect(host, port, [_NO_DELAY, *(socket_options or ())]))

    def connect_unix_socket(self, *arguments: Any, **options: Any) -> Any:
        return self._unwatched.connect_unix_socket(*arguments, **options)

    def sleep(self, seconds: float) -> None:
        self._unwatched.sleep(seconds)


class _Stream:
    """A network stream for httpcore. Its own time limits apply unless it is watched."""

    def __init__(self, core: Any, connection: socket.socket) -> None:
        self._core, self._connection = core, connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told_as(self._core.ReadError, self._core.ReadTimeout):
            self._connection.settimeout(timeout)
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _told_as(self._core.WriteError, self._core.WriteTimeout):
            self._connection.settimeout(timeout)
            self._connection.sendall(buffer)

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        ssl_context.sslsocket_class = EncryptedSocket
        try:
            with _told_as(self._core.ConnectError, self._core.ConnectTimeout):
                self._connection.settimeout(timeout)
                return _Stream(self._core, ssl_context.wrap_socket(self._connection, server_hostname=server_hostname))
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._connection if isinstance(self._connection, ssl.SSLSocket) else None
            case "client_addr":
                return self._connection.getsockname()
            case "server_addr":
                return self._connection.getpeername()
            case "socket":
                return self._connection
            case "is_readable":
                return wait_for_read(self._connection, timeout=0)
        return None


@contextmanager
def _told_as(error: type[Exception], late: type[Exception] | None = None) -> Iterator[None]:
    try:
        yield
    except TimeoutError as problem:
        raise (late or error)(str(problem)) from problem
    except OSError as problem:
        raise error(str(problem)) from problem
