"""Makes urllib3 use watched sockets for its connections."""

from __future__ import annotations

import socket
import ssl

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from mlxbuild.registry.oci.remote.sockets import EncryptedSocket, connect


def encryption() -> ssl.SSLContext:
    """The TLS context of the connections. urllib3 sets which certificates are required."""
    context = create_urllib3_context()
    context.sslsocket_class = EncryptedSocket
    return context


def watch_connections(manager: PoolManager) -> None:
    """Make a pool manager, including that of a proxy, use watched sockets."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _EncryptedPool}


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _EncryptedConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _EncryptedConnection


def _connected(connection: HTTPConnection) -> socket.socket:
    try:
        return connect(connection._dns_host, connection.port, connection.socket_options or ())
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except OSError as error:
        raise NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error
