"""Cooperative cancellation: the caller sets a check, and everything that waits calls it.

A thread cannot be cancelled from outside, so each thread has a check, and code that waits for a network, a lock or a
pause calls `checkpoint`. New threads do not inherit the check: start them with `threads`, or call `begin_thread`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

POLL_SECONDS = 0.1
"""The longest wait before the check is called again."""

Check = Callable[[], None]
"""A function that returns while the work should go on, and raises to cancel it."""

_current: ContextVar[Check | None] = ContextVar("cancellation", default=None)


class Cancelled(Exception):
    """The work was cancelled."""


def checkpoint() -> None:
    """Call this thread's check, which raises if the work is cancelled."""
    check = _current.get()
    if check is not None:
        check()


@contextmanager
def cancelled_by(check: Check) -> Iterator[None]:
    """Let `check`, in addition to the current check, cancel what this thread does in the `with` statement."""
    token = _current.set(_both(_current.get(), check))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def until(end: float, make_error: Callable[[], Exception]) -> Iterator[None]:
    """Let whatever this thread waits for in the `with` statement end with an error once `time.monotonic()` is `end`."""

    def check() -> None:
        if time.monotonic() >= end:
            raise make_error()

    with cancelled_by(check):
        yield


def wait(seconds: float) -> None:
    """Sleep, calling `checkpoint` meanwhile."""
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
    """A pool of threads that share this thread's check. An error or interrupt in the `with` statement cancels them."""
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
    """Let an event, and another thread's check, cancel whatever the calling thread does from now on."""

    def unless_stopped() -> None:
        if stopped.is_set():
            raise Cancelled

    _current.set(_both(check, unless_stopped))


def current() -> Check | None:
    """The check of this thread, to pass to `begin_thread` in another thread."""
    return _current.get()


def _both(outer: Check | None, inner: Check) -> Check:
    if outer is None:
        return inner

    def check() -> None:
        outer()
        inner()

    return check
