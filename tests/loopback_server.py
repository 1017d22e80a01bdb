"""The HTTP server below the tests' own servers, and peers that are none. What the servers answer is theirs."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import ThreadingHTTPServer
from threading import Thread
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Answers each request on a thread of its own, and takes it as usual that clients hang up."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Tell of errors that are ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


@contextmanager
def silent_peer() -> Iterator[str]:
    """The `host:port` of somebody who takes every connection, and says nothing, not even a beginning of encryption."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def accept() -> None:
            with suppress(OSError):  # it is closed
                while True:
                    stack.enter_context(listening.accept()[0])

        accepting = Thread(target=accept, daemon=True)
        accepting.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(10)


@contextmanager
def full_peer() -> Iterator[str]:
    """The `host:port` of somebody who listens, and lets no more connections come about (on Linux)."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = listening.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place)
        yield f"{place[0]}:{place[1]}"
