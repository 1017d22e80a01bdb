"""One stream in, several sinks out. A sink that fails is dropped with a warning: no build fails for its log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from mlxbuild.toolchain.events.model import Event, Sink, Warned


class Observer:
    """A sink that hands events on to a function."""

    def __init__(self, observe: Callable[[Event], None]) -> None:
        self.handle = observe

    def close(self) -> None:
        """See `Sink.close`."""


class EventStream:
    """Hands each event to every sink in turn; safe to call from several threads."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = list(sinks)
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Hand one event on."""
        with self._lock:
            for sink in tuple(self._sinks):
                try:
                    sink.handle(event)
                except (OSError, ValueError) as error:
                    self._sinks.remove(sink)
                    for other in self._sinks:
                        other.handle(Warned(f"{type(sink).__name__} stopped: {error}"))

    def close(self) -> None:
        """End the stream."""
        with self._lock:
            for sink in self._sinks:
                with suppress(OSError, ValueError):
                    sink.close()
            self._sinks.clear()
