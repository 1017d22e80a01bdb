"""Defers signals while nothing may be raised, and sends them again later. How they end processes: `shutdown`."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

_DEFERRED = (signal.SIGINT, signal.SIGTERM)
_SOON_SECONDS = 0.01
"""Time within which a fork has returned to its caller."""


class DeferredSignals:
    """Defers the signals that have Python handlers: only these can raise, and only in the main thread."""

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._received: list[int] = []

    def defer(self) -> None:
        """Record signals from now on instead of handling them."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _DEFERRED:
            if callable(handler := signal.getsignal(number)):
                self._handlers[number] = handler
                signal.signal(number, lambda number, _frame: self._received.append(number))

    def deliver(self) -> None:
        """Restore the handlers, and soon send the recorded signals again."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        received, self._received = self._received, []
        self._handlers.clear()
        if received:
            threading.Thread(target=_send_again, args=(received,), daemon=True).start()

    def discard(self) -> None:
        """Restore the handlers in a forked child, which must not get the parent's signals."""
        self._received.clear()
        self.deliver()


def _send_again(numbers: list[int]) -> None:
    time.sleep(_SOON_SECONDS)
    for number in numbers:
        os.kill(os.getpid(), number)
