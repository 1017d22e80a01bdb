"""Cancellation of work that waits: whoever began it says when it is to end, and every wait below asks.

A thread cannot be cancelled from outside, so each has a check, and all that waits for a network, a lock or a pause
calls `checkpoint`. New threads do not inherit it: begin them by `threads`, or with `begin_thread`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

POLL_SECONDS = 0.1
"""How long anything waits at most before it asks again."""

Check = Callable[[], None]
"""Returns while the work is wanted, and raises where it is to end."""

_current: ContextVar[Check | None] = ContextVar("cancellation", default=None)


class Cancelled(Exception):
    """The work is of no use any more."""


def checkpoint() -> None:
    """Go on, or raise what the check of this thread raises."""
    check = _current.get()
    if check is not None:
        check()


@contextmanager
def cancelled_by(check: Check) -> Iterator[None]:
    """Have `check`, besides the one that holds already, end what this thread does in the `with` statement."""
    token = _current.set(_both(_current.get(), check))
    try:
        yield
    finally:
        _current.reset(token)


def wait(seconds: float) -> None:
    """Sleep; raises as `checkpoint` while it does."""
    if _current.get() is None:
        time.sleep(seconds)
        return
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        checkpoint()
        time.sleep(min(left, POLL_SECONDS))
    checkpoint()


@contextmanager
def threads(count: int, name: str = "") -> Iterator[ThreadPoolExecutor]:
    """Threads of this one's work. An error or an interruption in the `with` statement also ends what they wait for."""
    stopped = threading.Event()
    pool = ThreadPoolExecutor(count, name, initializer=begin_thread, initargs=(stopped, _current.get()))
    try:
        yield pool
    except BaseException:
        stopped.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=stopped.is_set())


def begin_thread(stopped: threading.Event, check: Check | None = None) -> None:
    """Have an event, and another thread's check, end whatever the calling thread does from now on."""

    def unless_stopped() -> None:
        if stopped.is_set():
            raise Cancelled

    _current.set(_both(check, unless_stopped))


def current() -> Check | None:
    """The check of this thread, for another one to begin with."""
    return _current.get()


def _both(outer: Check | None, inner: Check) -> Check:
    if outer is None:
        return inner

    def check() -> None:
        outer()
        inner()

    return check
