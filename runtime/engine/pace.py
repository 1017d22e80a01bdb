"""How much of a prompt is read at once: all that is useful while nobody waits, little while answers are running."""

from __future__ import annotations

_MOST_STEPS = 1.0
"""As long as so many steps of the running answers may a part take that is read between two of them."""
_UNNOTICED_SECONDS = 0.01
"""A part may always take that long: nobody sees it, and other requests wait for their prompts to be read."""
_SLOW_STEPS = 1.5
"""What takes longer than so many usual steps is a slow one."""
_SMALLEST = 4
_SMOOTHING = 0.3
_PARTS_BETWEEN_LOOKS = 64
"""As many parts are read before it is measured again how long a step takes by itself."""
_PARTS_BETWEEN_TRIALS = 256
"""As many parts are read before it is found out again what larger ones would take."""


class Pace:
    """Keeps parts of prompts in proportion to the steps between them, so that running answers stay fluent.

    Sizes are counts of tokens times the layers that they go through. They are halved and doubled, as few sizes are few
    shapes to compute with.
    """

    def __init__(self, *, most: int, first: int) -> None:
        """With sizes of at most `most`; `first` is where it begins while answers are running."""
        self._most = most
        self._step_seconds: float | None = None
        self._part_seconds: dict[int, float] = {}
        """By size."""
        self._size = self._asked = min(first, most)
        self._parts = 0

    def ticked(self, seconds: float, read: int) -> None:
        """Answers took a step, and after it a part of that size was read, in so many seconds together."""
        if not read:
            before = self._step_seconds  # now and then a step takes long, as when caches grow: that is not the usual
            self._step_seconds = _smoothed(before, seconds if before is None else min(seconds, _SLOW_STEPS * before))
        elif self._step_seconds is not None and read > self._asked // 2:
            reading = max(seconds - self._step_seconds, 0.0)
            self._part_seconds[self._asked] = _smoothed(self._part_seconds.get(self._asked), reading)

    def part(self, *, step_seconds: float | None) -> int:
        """What size to read next, at most; 0 to leave one step alone.

        `step_seconds` is what the step just before took; None where no answers are running. After a slow one, as when
        caches have grown, nothing is read: both together would be a stall.
        """
        if step_seconds is None:
            return self._most
        if self._step_seconds is None or step_seconds > _SLOW_STEPS * self._step_seconds:
            return 0
        self._parts += 1
        if self._parts % _PARTS_BETWEEN_LOOKS == 0:
            return 0
        self._adapt(max(_MOST_STEPS * self._step_seconds, _UNNOTICED_SECONDS))
        self._asked = self._size
        if self._parts % _PARTS_BETWEEN_TRIALS == 1 and self._size > _SMALLEST:
            # What larger parts would take may have changed. Half a part tells it, and is a stall for nobody.
            self._asked //= 2
            for size in (self._asked, self._size * 2):
                self._part_seconds.pop(size, None)
        return self._asked

    def _adapt(self, bound_seconds: float) -> None:
        taken = self._part_seconds.get(self._size)
        if taken is None:
            return
        if taken > bound_seconds:
            self._size = max(self._size // 2, _SMALLEST)
        elif self._foreseen_seconds(taken) <= bound_seconds:
            self._size = min(self._size * 2, self._most)

    def _foreseen_seconds(self, taken: float) -> float:
        """What a part of twice the size will take. Some of that does not depend on the size, as two sizes tell."""
        smaller, larger = (self._part_seconds.get(size) for size in (self._size // 2, self._size * 2))
        if larger is not None:
            return larger
        return 2 * taken if smaller is None else taken + 2 * max(taken - smaller, 0.0)


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + (now - before) * _SMOOTHING
