"""Signals before a command has begun: they end the process at once. How they end a command that runs: `ending`.

This is the first that a process imports, and so it imports next to nothing.
"""

from __future__ import annotations

import _signal as signal  # which `signal` is made of, without the modules that it takes longest to import
import os

INTERRUPTED = 130
TERMINATED = 143


def leave_at_once() -> None:
    """For a process that has done nothing yet: signals end it with their exit codes, in whatever import it is."""
    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in jobs of shells
        signal.signal(signal.SIGINT, leave)


def leave(number: int, _frame: object = None) -> None:
    """End the process as the signal of a number does."""
    code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    try:
        os.write(2, told(code).encode())
    finally:
        os._exit(code)


def told(code: int) -> str:
    """What is said when a signal has ended a command with its exit code."""
    return "\nterminated\n" if code == TERMINATED else "\ninterrupted\n"
