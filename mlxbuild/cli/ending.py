"""Ends the process of a command on signals and closed pipes. Other exit codes are set in `program`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from mlxbuild.cli.early_signals import leave

CLOSED_PIPE = 141


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. It cleans up like an interrupt, but always ends the command."""


def end_in_order() -> None:
    """Make SIGTERM raise `Terminated` from now on, so that a command cleans up."""
    if signal.getsignal(signal.SIGTERM) is not leave:
        return
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def was_terminated() -> bool:
    """Whether SIGTERM was received."""
    return _came


def end_at_once() -> None:
    """Make any signal end the process at once, because its work is done."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_nothing_more() -> None:
    """Discard pending output for a closed pipe, as Python would fail to write it again at exit."""
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
