"""Queues a runner's messages and writes them in a thread of its own, so that no sender waits for the socket."""

from __future__ import annotations

import socket
import threading
from typing import Any

from mlxbuild.runtime.protocol.events import Event
from mlxbuild.runtime.runner import frames


class EventWriter:
    """The writing end of a runner's socket and its thread; events that have queued up are sent as one frame."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._gathered = threading.Condition()
        self._events: list[tuple[int, Event]] = []
        self._messages: list[list[Any]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def tell(self, events: list[tuple[int, Event]]) -> None:
        """Queue events of requests, each with the number of its request."""
        with self._gathered:
            self._events += events
            self._gathered.notify()

    def say(self, *message: Any) -> None:
        """Queue any other message."""
        with self._gathered:
            self._messages.append(list(message))
            self._gathered.notify()

    def close(self) -> None:
        """Write what is queued, then stop."""
        with self._gathered:
            self._closed = True
            self._gathered.notify()
        self._thread.join(timeout=5)

    def _write(self) -> None:
        while True:
            with self._gathered:
                self._gathered.wait_for(lambda: self._events or self._messages or self._closed)
                if not self._events and not self._messages:
                    return
                events, self._events = self._events, []
                messages, self._messages = self._messages, []
            try:
                # Messages first: `ready` has to come before the first event.
                for message in messages:
                    self._connection.sendall(frames.encode(message))
                if events:
                    self._connection.sendall(frames.encode(["events", events]))
            except OSError:
                return  # the server is gone; the reading thread ends the process
