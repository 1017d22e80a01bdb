"""Work in threads that ends early when nobody waits for it any more: a thread cannot be cancelled, but can look."""

from __future__ import annotations

import threading


class GivenUp(Exception):
    """Nobody waits for the work any more."""


class Checkpoint:
    """What work calls again and again, to hear whether it is still wanted."""

    def __init__(self) -> None:
        self._unwanted = threading.Event()

    def __call__(self) -> None:
        """Go on.

        Raises:
            GivenUp: it is not wanted.
        """
        if self._unwanted.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """Have the work end soon."""
        self._unwanted.set()
