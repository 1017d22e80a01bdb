"""The end of engines with their process, and what a fork finds of them. How a single engine ends: `loop`."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from typing import Protocol


class Living(Protocol):
    """What computes on a thread of its own."""

    def end(self, reason: str) -> None:
        """Begin nothing more; returns at once."""

    def wait(self) -> None:
        """Return when nothing is computed any more."""

    def hold_still(self) -> None:
        """Compute nothing from now on until `go_on`; returns when that is so."""

    def go_on(self) -> None:
        """The end of `hold_still`."""

    def forsake(self, reason: str) -> None:
        """Fail everything that is on its way: the thread is in another process."""


def remember(living: Living) -> None:
    """Have it end before its process ends, and hold still while that is forked."""
    _all.add(living)


def _end_all() -> None:
    """Before Python lets go of its modules, and the loader of the libraries that are being computed with.

    It takes a step at most, or a layer of a prompt. Who does not want to wait for that interrupts it: then the system
    ends the process at once, and no library is unloaded.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    living = list(_all)
    for each in living:
        each.end("the process ends")
    for each in living:
        each.wait()


def _hold_still() -> None:
    """OpenBLAS ends its threads before a fork, and would wait for ever for those that compute."""
    _forking.acquire()
    _still.extend(_all)
    for each in _still:
        each.hold_still()


def _go_on() -> None:
    for each in _still:
        each.go_on()
    _still.clear()
    _forking.release()


def _forsake() -> None:
    global _forking
    _forking = threading.Lock()
    for each in _still:
        each.forsake("the process was forked from the one that has the model")
    _still.clear()
    _all.clear()


_all: weakref.WeakSet[Living] = weakref.WeakSet()
_still: list[Living] = []
_forking = threading.Lock()
atexit.register(_end_all)
os.register_at_fork(before=_hold_still, after_in_parent=_go_on, after_in_child=_forsake)
