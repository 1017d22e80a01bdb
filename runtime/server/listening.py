"""The socket that a server listens on; it is bound before heavy imports, so that early clients are not refused."""

from __future__ import annotations

import socket

from mlxbuild.registry.core.errors import EnvironmentFailure

BACKLOG = 2048


class CannotListen(EnvironmentFailure):
    """The server cannot listen on the address."""

    code = "cannot-listen"


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 chooses a free one.

    Raises:
        CannotListen: another process uses the address, or this machine does not have it.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(address[0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address[4])
        listening.listen(BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="is a server running there? choose another address with `--host` and `--port`, or OLLAMA_HOST",
        ) from error
    listening.setblocking(False)
    return listening
