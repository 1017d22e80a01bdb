"""Sockets that apply the time limits of a request to every wait: name lookup, connection, TLS and transfer."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mlxbuild.registry.core.cancellation import POLL_SECONDS
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.oci.remote import watch as watches
from mlxbuild.registry.oci.remote.watch import Awaited, Watch

_Result = TypeVar("_Result")
_Address = tuple[Any, Any, int, str, Any]
"""An address as `getaddrinfo` returns it."""


class WatchedSocket(socket.socket):
    """A socket that checks its watch during every wait. The watch of the last request applies to its response, too."""

    _watch: Watch | None = None
    _is_answering = False

    def send(self, data: Any, flags: int = 0) -> int:
        self._watch, self._is_answering = watches.current(), False
        return self._moving(lambda: super(WatchedSocket, self).send(data, flags), int, Awaited.RECEIVER)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.send(octets[sent:], flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self._receiving(lambda: super(WatchedSocket, self).recv(size, flags), len)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self._receiving(lambda: super(WatchedSocket, self).recv_into(buffer, nbytes, flags), int)

    def _receiving(self, once: Callable[[], _Result], size: Callable[[_Result], int]) -> _Result:
        result = self._moving(once, size, Awaited.BYTES if self._is_answering else Awaited.ANSWER)
        self._is_answering = True
        return result

    def _moving(self, once: Callable[[], _Result], size: Callable[[_Result], int], awaited: Awaited) -> _Result:
        if self._watch is None:
            return once()
        self.settimeout(POLL_SECONDS)
        result = self._watch.attempt(once, awaited)
        self._watch.moved(size(result), awaited)
        return result


class EncryptedSocket(WatchedSocket, ssl.SSLSocket):  # type: ignore[misc]  # whose arguments have other names
    """A watched socket with TLS."""

    def do_handshake(self, block: bool = False) -> None:
        watch = watches.current()
        if watch is None:
            super().do_handshake(block)
            return
        watch.moved(0, Awaited.ENCRYPTION)
        self.settimeout(POLL_SECONDS)
        try:
            watch.attempt(super().do_handshake, Awaited.ENCRYPTION)
        except BaseException:
            self.close()
            raise


def connect(host: str, port: int, options: Iterable[tuple[Any, ...]] = ()) -> WatchedSocket:
    """Connect to the first address of a host that accepts connections, under the watch of this thread.

    Args:
        options: The socket options, as arguments of `setsockopt`.

    Raises:
        OSError: the name has no address (`gaierror`), or none of its addresses accepts connections.
        MlxbuildError: the watch's error for an exceeded time limit.
    """
    watch = watches.current()
    assert watch is not None, "every request has a watch"
    failure: Exception = OSError("the name has no address")
    for address in _addresses(host, port, watch):
        try:
            return _connect_to(address, options, watch)
        except (OSError, MlxbuildError) as error:
            failure = error
    raise failure


def _addresses(host: str, port: int, watch: Watch) -> list[_Address]:
    """Resolve a host in a separate thread, because the system's resolver has no timeout and cannot be interrupted."""
    found: list[list[_Address] | OSError] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else socket.gaierror(str(error)))

    thread = threading.Thread(target=resolve, name="resolver", daemon=True)
    thread.start()

    def once() -> list[_Address] | OSError:
        thread.join(POLL_SECONDS)
        if not found:
            raise TimeoutError
        return found[0]

    addresses = watch.attempt(once, Awaited.CONNECTION)
    if isinstance(addresses, OSError):
        raise addresses
    return addresses


def _connect_to(address: _Address, options: Iterable[tuple[Any, ...]], watch: Watch) -> WatchedSocket:
    family, kind, protocol, _, place = address
    watch.moved(0, Awaited.CONNECTION)
    connection = WatchedSocket(family, kind, protocol)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.setblocking(False)
        code = connection.connect_ex(place)
        if code in (errno.EINPROGRESS, errno.EAGAIN):
            waiting = select.poll()
            waiting.register(connection, select.POLLOUT)

            def once() -> None:
                if not waiting.poll(POLL_SECONDS * 1000):
                    raise TimeoutError

            watch.attempt(once, Awaited.CONNECTION)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        connection.settimeout(POLL_SECONDS)
    except BaseException:
        connection.close()
        raise
    return connection
