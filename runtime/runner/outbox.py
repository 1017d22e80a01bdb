"""What a runner says, on its way out: whatever has gathered goes as one frame. The thread that says it never waits."""

from __future__ import annotations

import socket
import threading
from typing import Any

from mlxbuild.runtime.protocol.events import Event
from mlxbuild.runtime.runner import frames


class Outbox:
    """The writing end of a runner's socket, with the thread that writes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._gathered = threading.Condition()
        self._events: list[tuple[int, Event]] = []
        self._messages: list[list[Any]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def tell(self, events: list[tuple[int, Event]]) -> None:
        """Events of requests, by the requests' numbers."""
        with self._gathered:
            self._events += events
            self._gathered.notify()

    def say(self, *message: Any) -> None:
        """Anything else."""
        with self._gathered:
            self._messages.append(list(message))
            self._gathered.notify()

    def close(self) -> None:
        """Write what there is, then no more."""
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
                # Messages first: a model is ready before it answers.
                for message in messages:
                    self._connection.sendall(frames.encode(message))
                if events:
                    self._connection.sendall(frames.encode(["events", events]))
            except OSError:
                return  # nobody listens any more: the reading thread ends the process
