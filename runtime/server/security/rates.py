"""Limits the requests per minute of each caller, as `access` identifies them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 10_000


class RateLimit:
    """A token bucket for each caller, which holds the requests of one minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, caller: str) -> float:
        """Take one request from the caller's bucket; returns 0, or the time until the next one is available."""
        now = self._clock()
        left, then = self._buckets.pop(caller, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * self.per_minute / 60)
        is_free = left >= 1
        self._buckets[caller] = (left - 1 if is_free else left, now)
        if len(self._buckets) > _MOST_CALLERS:  # the bucket unused for longest is the fullest
            self._buckets.popitem(last=False)
        return 0.0 if is_free else (1 - left) * 60 / self.per_minute
