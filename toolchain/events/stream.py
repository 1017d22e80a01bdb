"""Distributes events to several sinks. A sink that fails is dropped with a warning, so no build fails for its log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from mlxbuild.toolchain.events.model import Event, Sink, Warned


class Observer:
    """A sink that calls a function with each event."""

    def __init__(self, observe: Callable[[Event], None]) -> None:
        self.handle = observe

    def close(self) -> None:
        """See `Sink.close`."""


class EventStream:
    """Sends each event to every sink in turn. Thread-safe."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = list(sinks)
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Send an event to all sinks."""
        with self._lock:
            for sink in tuple(self._sinks):
                try:
                    sink.handle(event)
                except (OSError, ValueError) as error:
                    self._sinks.remove(sink)
                    for other in self._sinks:
                        other.handle(Warned(f"{type(sink).__name__} stopped: {error}"))

    def close(self) -> None:
        """Close all sinks."""
        with self._lock:
            for sink in self._sinks:
                with suppress(OSError, ValueError):
                    sink.close()
            self._sinks.clear()
