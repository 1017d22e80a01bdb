"""Signals that come where nothing may be raised: put off, and sent once more. How processes end by them: `ending`."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

_PUT_OFF = (signal.SIGINT, signal.SIGTERM)
_SOON_SECONDS = 0.01
"""In which a fork has returned to who asked for it."""


class PutOff:
    """Those for which the program has functions of its own: only these can raise anything, in the main thread alone."""

    def __init__(self) -> None:
        self._usual: dict[signal.Signals, Any] = {}
        self._came: list[int] = []

    def put_off(self) -> None:
        """From now on nothing is raised."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _PUT_OFF:
            if callable(usual := signal.getsignal(number)):
                self._usual[number] = usual
                signal.signal(number, lambda number, _frame: self._came.append(number))

    def catch_up(self) -> None:
        """The program gets what has come meanwhile, soon."""
        for number, usual in self._usual.items():
            signal.signal(number, usual)
        came, self._came = self._came, []
        self._usual.clear()
        if came:
            threading.Thread(target=_send_again, args=(came,), daemon=True).start()

    def forget(self) -> None:
        """In a new process, which the signals were not sent to."""
        self._came.clear()
        self.catch_up()


def _send_again(numbers: list[int]) -> None:
    time.sleep(_SOON_SECONDS)
    for number in numbers:
        os.kill(os.getpid(), number)
