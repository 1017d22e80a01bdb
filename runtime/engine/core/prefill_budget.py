"""How many tokens of a prompt are read at once: many while nobody waits, few while answers are being written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_MOST_STEPS = 0.9
"""So many steps of the running answers may be spent on reading between two of them."""
_UNNOTICED_SECONDS = 0.009
"""So long may always be read: nobody sees it, and other requests wait for their prompts to be read."""
_BEARABLE_SECONDS, _BEARABLE_STEPS = 0.2, 2.0
"""So long, or so many steps, may be read where more requests wait for their first token than are answered, in
proportion to them."""
_SLOW = 1.5
"""What takes so many times as long as usual is slow."""
_FIRST_TOKENS, _FEWEST_TOKENS = 32, 4
_DOUBLED, _HALVED = 2.0, 0.65
"""So much longer take twice as many tokens to go through a layer, at most; and so much of it half as many."""
_SMOOTHING = 0.3
_READING_SMOOTHING = 0.5
"""Parts that take too long are felt, so this is learned faster."""
_PARTS_BETWEEN_MEASURES = 4
"""Of as many parts that are read beside the same answers one is measured, and each of the first ones."""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """What may be read at once."""

    tokens: int
    """How many go through a layer together, padding included."""
    layers: Callable[[int], int] | None = None
    """Through how many layers so many tokens may go, at least one; None through all of them, when nobody waits."""
    is_measured: bool = False
    """Whether it is to be told how long it takes: that leaves nothing to compute while the next step is laid out."""


class PrefillBudget:
    """Keeps the reading of prompts in proportion to the steps between, so that running answers stay fluent.

    Both are measured by themselves in each iteration. Numbers of tokens are halved and doubled, as few sizes are few
    shapes to compute with.
    """

    def __init__(self, *, most: int) -> None:
        """`most` tokens are read at once when nobody waits."""
        self._most = most
        self._step_seconds: float | None = None
        self._is_slow = self._was_left = False
        """Whether the last step was a slow one, and whether the one before was left alone for that."""
        self._running = self._parts = 0
        """How many answers were running last, and how many parts were read beside as many."""
        self._measured: tuple[int, float] | None = None
        """How many tokens went through layers last, and what a layer takes for so many."""

    def stepped(self, seconds: float) -> None:
        """Running answers took a step in so much time, which they spent on nothing else."""
        self._is_slow = self._step_seconds is not None and seconds > _SLOW * self._step_seconds
        self._step_seconds = _learned(self._step_seconds, seconds, _SMOOTHING)

    def read(self, tokens: int, layers: int, seconds: float) -> None:
        """So many tokens went through so many layers in so much time."""
        before = None if self._measured is None else self._layer_seconds(tokens)
        self._measured = tokens, _learned(before, seconds / layers, _READING_SMOOTHING)

    def chunk(self, running: int, waiting: int) -> PrefillChunk | None:
        """What to read next for so many who wait, beside so many running answers; None to leave one step alone.

        After a slow step nothing is read, unless more wait than are answered: both together would be a stall.
        """
        if not running:
            return PrefillChunk(self._most)
        if self._step_seconds is None:
            return None
        self._was_left = self._is_slow and not self._was_left and waiting <= running
        if self._was_left:
            return None
        self._parts = self._parts + 1 if running == self._running else 1
        self._running = running
        is_measured = self._parts <= _PARTS_BETWEEN_MEASURES or not self._parts % _PARTS_BETWEEN_MEASURES
        usual = _MOST_STEPS * self._step_seconds
        bearable = max(_BEARABLE_SECONDS, _BEARABLE_STEPS * self._step_seconds)
        seconds = max(usual, min(usual * waiting / running, bearable), _UNNOTICED_SECONDS)
        if self._measured is None:
            return PrefillChunk(min(_FIRST_TOKENS, self._most), lambda _: 1, is_measured)

        def layers(tokens: int) -> int:
            return max(int(seconds / max(self._layer_seconds(tokens), 1e-9)), 1)

        sizes = [self._most >> halved for halved in range(self._most.bit_length())]  # the largest first
        fitting = (size for size in sizes if size <= _FEWEST_TOKENS or self._layer_seconds(size) <= seconds)
        return PrefillChunk(next(fitting), layers, is_measured)

    def _layer_seconds(self, tokens: int) -> float:
        """What a layer will take, by what it took last."""
        assert self._measured is not None
        known, seconds = self._measured
        doublings = math.log2(max(tokens, 1) / max(known, 1))
        foreseen: float = seconds * (_DOUBLED**doublings if doublings > 0 else _HALVED**-doublings)
        return foreseen


def _learned(before: float | None, now: float, share: float) -> float:
    """What is usual: now and then it takes long, as when caches grow, or the machine has other work."""
    return now if before is None else before + (min(now, _SLOW * before) - before) * share
