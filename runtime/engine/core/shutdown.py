"""Ends engines before their process does, and handles forks. How a single engine ends: `loop`."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from mlxbuild.runtime.engine.core.signals import DeferredSignals


class Computation(Protocol):
    """A computation on its own thread."""

    def end(self, reason: str) -> None:
        """Start nothing more; returns at once."""

    def wait(self) -> None:
        """Wait until nothing is computed any more."""

    def pause(self) -> None:
        """Stop computing until `resume`; returns when nothing is computed."""

    def resume(self) -> None:
        """Continue after `pause`."""

    def abandon(self, reason: str) -> None:
        """Fail everything in progress in a forked child: the thread belongs to the parent."""


def register(computation: Computation) -> None:
    """Have a computation end before its process, which may be now, and pause during forks.

    To be called on its own thread before it computes anything: this blocks while the process is being forked.
    """
    with _lock:
        _all.add(computation)
        if _ends:
            computation.end(_REASON)


def _end_all() -> None:
    """End all computations before Python unloads its modules, and the loader the libraries in use.

    It takes at most one step, or one layer of a prefill. An interrupt ends the process at once, without unloading the
    libraries.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _let_end_at_once(signal.SIGINT)
    _despite_signals(_refuse_new)
    computation = list(_all)
    for each in computation:
        _despite_signals(partial(each.end, _REASON))
    for each in computation:
        _despite_signals(each.wait)


def _despite_signals(act: Callable[[], None]) -> None:
    """Complete an action even if signals raise in it; a second signal ends the process at once."""
    while True:
        try:
            act()
        except BaseException:  # noqa: BLE001 - by signals alone, and Python ends already
            _let_end_at_once(signal.SIGINT, signal.SIGTERM)
        else:
            return


def _refuse_new() -> None:
    global _ends
    with _lock:
        _ends = True


def _let_end_at_once(*numbers: signal.Signals) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)


def _pause() -> None:
    """Pause all computations before a fork, as OpenBLAS would wait for ever for threads that compute.

    Python ignores exceptions here and forks anyway, so signals are deferred.
    """
    _lock.acquire()
    _signals.defer()
    _paused.extend(_all)
    for each in _paused:
        each.pause()


def _resume() -> None:
    for each in _paused:
        each.resume()
    _paused.clear()
    _lock.release()
    _signals.deliver()


def _abandon() -> None:
    global _lock
    _lock = threading.RLock()
    for each in _paused:
        each.abandon("the process was forked from the one that has the model")
    _paused.clear()
    _all.clear()
    _signals.discard()


_all: weakref.WeakSet[Computation] = weakref.WeakSet()
_paused: list[Computation] = []
_signals = DeferredSignals()
_lock = threading.RLock()
_ends = False
_REASON = "the process ends"
atexit.register(_end_all)
atexit.register(_end_all)  # twice, as a signal may interrupt the start of the first call
os.register_at_fork(before=_pause, after_in_parent=_resume, after_in_child=_abandon)
