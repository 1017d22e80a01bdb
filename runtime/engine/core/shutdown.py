"""The shutdown of engines with their process, and what a fork finds of them. How one engine ends: `loop`."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from mlxbuild.runtime.engine.core.signals import PutOff


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
    """Have it end before its process ends, which may be now, and hold still while that is forked.

    To be called on its own thread before it computes: that waits while the process is being forked.
    """
    with _lock:
        _all.add(living)
        if _ends:
            living.end(_REASON)


def _end_all() -> None:
    """Before Python lets go of its modules, and the loader of the libraries that are being computed with.

    It takes a step at most, or a layer of a prompt. Who does not want to wait for that interrupts it: then the system
    ends the process at once, and no library is unloaded.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _let_end_at_once(signal.SIGINT)
    _surely(_begin_no_more)
    living = list(_all)
    for each in living:
        _surely(partial(each.end, _REASON))
    for each in living:
        _surely(each.wait)


def _surely(act: Callable[[], None]) -> None:
    """Whatever a signal has raised meanwhile. Who has sent one may send another, which ends the process at once."""
    while True:
        try:
            act()
        except BaseException:  # noqa: BLE001 - by signals alone, and Python ends already
            _let_end_at_once(signal.SIGINT, signal.SIGTERM)
        else:
            return


def _begin_no_more() -> None:
    global _ends
    with _lock:
        _ends = True


def _let_end_at_once(*numbers: signal.Signals) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)


def _hold_still() -> None:
    """OpenBLAS ends its threads before a fork, and would wait for ever for those that compute.

    Python forgets what is raised here, and forks: so signals wait until then.
    """
    _lock.acquire()
    _signals.put_off()
    _still.extend(_all)
    for each in _still:
        each.hold_still()


def _go_on() -> None:
    for each in _still:
        each.go_on()
    _still.clear()
    _lock.release()
    _signals.catch_up()


def _forsake() -> None:
    global _lock
    _lock = threading.RLock()
    for each in _still:
        each.forsake("the process was forked from the one that has the model")
    _still.clear()
    _all.clear()
    _signals.forget()


_all: weakref.WeakSet[Living] = weakref.WeakSet()
_still: list[Living] = []
_signals = PutOff()
_lock = threading.RLock()
_ends = False
_REASON = "the process ends"
atexit.register(_end_all)
atexit.register(_end_all)  # again, as a signal may come where the first one begins
os.register_at_fork(before=_hold_still, after_in_parent=_go_on, after_in_child=_forsake)
