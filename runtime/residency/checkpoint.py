"""Cooperative cancellation of work in threads: a thread cannot be cancelled, but it can check whether to go on."""

from __future__ import annotations

import threading


class NobodyWaits(Exception):
    """The work was cancelled, as nobody waits for it any more."""


class Checkpoint:
    """A cancellation check that the work calls repeatedly."""

    def __init__(self) -> None:
        self._unwanted = threading.Event()

    def __call__(self) -> None:
        """Return if the work is still wanted.

        Raises:
            GivenUp: the work was cancelled.
        """
        if self._unwanted.is_set():
            raise NobodyWaits

    def give_up(self) -> None:
        """Cancel the work at its next check."""
        self._unwanted.set()
