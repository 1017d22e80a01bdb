"""How many requests a minute one caller may make. Who a caller is: told by `access`."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 10_000


class RateLimit:
    """A bucket for each caller, which fills at an even rate and holds a minute's worth."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, caller: str) -> float:
        """Take one request out of the caller's bucket: 0, or how long it takes until there is one again."""
        now = self._clock()
        left, then = self._buckets.pop(caller, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * self.per_minute / 60)
        is_free = left >= 1
        self._buckets[caller] = (left - 1 if is_free else left, now)
        if len(self._buckets) > _MOST_CALLERS:  # those who have not come for longest have full ones again
            self._buckets.popitem(last=False)
        return 0.0 if is_free else (1 - left) * 60 / self.per_minute
