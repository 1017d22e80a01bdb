"""How the process of a command comes to its end by a signal. What its exit code is otherwise, `main` says."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
TERMINATED = 143
CLOSED_PIPE = 141


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Everything is left as at an interrupt, but nobody goes on after it."""


def leave_at_once() -> None:
    """For a process that has done nothing yet: signals end it with their exit codes, in whatever import it is."""
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in jobs of shells
        signal.signal(signal.SIGINT, _leave)


def end_in_order() -> None:
    """Have SIGTERM leave nothing half done, now that a command begins in a process that did `leave_at_once`."""
    if signal.getsignal(signal.SIGTERM) is not _leave:
        return
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def was_terminated() -> bool:
    """Whether SIGTERM has come."""
    return _came


def told(code: int) -> str:
    """What is said when a signal has ended a command with its exit code."""
    return "\nterminated\n" if code == TERMINATED else "\ninterrupted\n"


def end_at_once() -> None:
    """From now on any signal ends the process at once: what it had to do is done."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_nothing_more() -> None:
    """For a reader that has gone: what is still to be written would fail once more when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _leave(number: int, _frame: FrameType | None) -> None:
    code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    try:
        os.write(2, told(code).encode())
    finally:
        os._exit(code)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    global _came
    _came = True
    raise Terminated


_came = False
