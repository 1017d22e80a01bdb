"""Signal handlers until a command begins, which end the process at once. `ending` handles signals after that.

A process imports this module first, so it imports next to nothing itself.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, without its slow imports
import os

INTERRUPTED = 130
TERMINATED = 143


def leave_at_once() -> None:
    """Make signals end the process at once, even during imports, with their exit codes."""
    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else SIGINT is ignored, as in background jobs
        signal.signal(signal.SIGINT, leave)


def leave(number: int, _frame: object = None) -> None:
    """End the process with the exit code of a signal."""
    code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    try:
        os.write(2, told(code).encode())
    finally:
        os._exit(code)


def told(code: int) -> str:
    """The message for a command that a signal has ended with this exit code."""
    return "\nterminated\n" if code == TERMINATED else "\ninterrupted\n"
