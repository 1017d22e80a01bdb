"""That a runner tells where its threads are: when it crashes, and when it is asked because it does not get on."""

from __future__ import annotations

import faulthandler
import signal

SIGNAL = signal.SIGUSR1
"""What asks it. It answers even where it holds Python's lock."""


def tell_when_asked() -> None:
    """Have this process print its stacks on stderr."""
    faulthandler.enable()
    faulthandler.register(SIGNAL)
