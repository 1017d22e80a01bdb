"""Repeats what failed for the moment, with backoff: as long as attempts make progress, and until it is cancelled."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.oci.remote.watch import DUE_BYTES

_CONNECTION_ATTEMPTS = 3
_CORRUPT_ATTEMPTS = 2
_SLOW_ATTEMPTS = 2
"""The number of timeouts allowed: time limits are long, so there is no third attempt after two of them."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long to try again."""

    attempts: int
    """The maximum number of attempts without progress."""
    first_pause_seconds: float
    longest_pause_seconds: float
    longest_asked_seconds: float
    """The longest pause that a server may ask for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error says about further attempts."""

    retryable: bool
    """Whether another attempt may succeed."""
    is_slow: bool = False
    """Whether a time limit passed."""
    is_unconnected: bool = False
    """Whether no connection was made: a wrong name or a closed port does not recover within seconds."""
    is_corrupt: bool = False
    """Whether wrong bytes came: that is tried again at once, and a second time is enough."""
    asked_seconds: float | None = None
    """The pause that the server asked for."""


def retry(
    once: Callable[[], _Result],
    patience: Patience,
    classify: Callable[[Exception], Failure | None],
    *,
    reached: Callable[[], int] = lambda: 0,
    settled: Callable[[], _Result | None] = lambda: None,
) -> _Result:
    """Call `once` until it returns a result.

    An attempt that got `DUE_BYTES` further than all before it made progress, and resets the count; so retries end at a
    server that always stops at the same byte, or sends one byte at a time.

    Args:
        once: One attempt.
        patience: How often and how long to try again.
        classify: What an error means for further attempts; None if it is not about attempts at all.
        reached: How many bytes the attempts got to.
        settled: Asked after the pause before another attempt; its result is taken, if it is not None.

    Raises:
        Exception: the error of the last attempt, or the one that cancelled the wait.
    """
    furthest_bytes, without_progress, slow, corrupt = reached(), 0, 0, 0
    while True:
        try:
            return once()
        except Exception as error:
            failure = classify(error)
            if failure is None:
                raise
            if failure.is_corrupt:
                corrupt += 1
                if corrupt >= _CORRUPT_ATTEMPTS:
                    raise
                continue
            if reached() >= furthest_bytes + DUE_BYTES:
                furthest_bytes, without_progress, slow = reached(), 0, 0
            else:
                without_progress, slow = without_progress + 1, slow + failure.is_slow
            most = min(patience.attempts, _CONNECTION_ATTEMPTS) if failure.is_unconnected else patience.attempts
            if not failure.retryable or without_progress >= most or slow >= _SLOW_ATTEMPTS:
                raise
            if (failure.asked_seconds or 0) > patience.longest_asked_seconds:
                raise
            pause_seconds = failure.asked_seconds
        if pause_seconds is None:
            longest = min(
                patience.first_pause_seconds * 2 ** max(without_progress - 1, 0), patience.longest_pause_seconds
            )
            pause_seconds = longest * random.uniform(0.5, 1.0)
        cancellation.wait(pause_seconds)
        if (result := settled()) is not None:
            return result
