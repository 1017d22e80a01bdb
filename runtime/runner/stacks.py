"""Prints the stacks of a runner's threads when it crashes, or when a signal asks for them because it hangs."""

from __future__ import annotations

import faulthandler
import signal

SIGNAL = signal.SIGUSR1
"""The signal that asks for the stacks; it works even while a thread holds the GIL."""


def tell_when_asked() -> None:
    """Have this process print its stacks to stderr on a crash or on `SIGNAL`."""
    faulthandler.enable()
    faulthandler.register(SIGNAL)
