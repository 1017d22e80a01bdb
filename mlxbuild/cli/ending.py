"""How the process of a command comes to its end by a signal. What its exit code is otherwise, `program` says."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from mlxbuild.cli.early_signals import leave

CLOSED_PIPE = 141


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Everything is left as at an interrupt, but nobody goes on after it."""


def end_in_order() -> None:
    """Have SIGTERM leave nothing half done, now that a command begins in a process where they ended it at once."""
    if signal.getsignal(signal.SIGTERM) is not leave:
        return
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def was_terminated() -> bool:
    """Whether SIGTERM has come."""
    return _came


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


def _terminate(_number: int, _frame: FrameType | None) -> None:
    global _came
    _came = True
    raise Terminated


_came = False
