"""The prefill budget: how many tokens of a prompt are computed at once; few while answers are being decoded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_MOST_STEPS = 0.9
"""Prefill may take this many decode steps' time between two of them."""
_UNNOTICED_SECONDS = 0.009
"""Prefill may always take this long: it is not noticed, and other requests wait for their first token."""
_BEARABLE_SECONDS, _BEARABLE_STEPS = 0.2, 2.0
"""Upper bound, in time or in decode steps, where more requests wait for their first token than are being answered. The
budget grows in proportion to them.
"""
_SLOW = 1.5
"""A measurement this many times above the usual one is slow."""
_FIRST_TOKENS, _FEWEST_TOKENS = 32, 4
_DOUBLED, _HALVED = 2.0, 0.65
"""Assumed factors for the time of a layer with twice as many tokens, at most, and with half as many."""
_SMOOTHING = 0.3
_PREFILL_SMOOTHING = 0.5
"""Chunks that take too long are noticed by users, so this adapts faster."""
_CHUNKS_BETWEEN_MEASURES = 4
"""One chunk in so many is measured, and so is each of the first ones beside the same number of answers."""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The limits of the next chunk."""

    tokens: int
    """How many tokens go through a layer together, padding included."""
    layers: Callable[[int], int] | None = None
    """Through how many layers that many tokens may go, at least one; None for all layers, when no answer is being
    decoded.
    """
    is_measured: bool = False
    """Whether its time is to be measured; then nothing is computed while the graph of the next step is built."""


class PrefillBudget:
    """Bounds the time of prefill in proportion to the decode steps between, so that running answers stay fluent.

    Both are measured separately in each iteration. Numbers of tokens are halved and doubled only, so that there are few
    shapes to compute with.
    """

    def __init__(self, *, most: int) -> None:
        """`most` tokens are computed at once when no answer is being decoded."""
        self._most = most
        self._step_seconds: float | None = None
        self._is_slow = self._was_left = False
        """Whether the last step was slow, and whether prefill was skipped after the one before for that reason."""
        self._running = self._chunks = 0
        """How many sequences were running last, and how many chunks were computed beside that many."""
        self._measured: tuple[int, float] | None = None
        """The number of tokens measured last, and the seconds that a layer takes for them."""

    def stepped(self, seconds: float) -> None:
        """Record the time of a decode step, without any prefill."""
        self._is_slow = self._step_seconds is not None and seconds > _SLOW * self._step_seconds
        self._step_seconds = _learned(self._step_seconds, seconds, _SMOOTHING)

    def prefilled(self, tokens: int, layers: int, seconds: float) -> None:
        """Record the time that so many tokens took for so many layers."""
        before = None if self._measured is None else self._layer_seconds(tokens)
        self._measured = tokens, _learned(before, seconds / layers, _PREFILL_SMOOTHING)

    def chunk(self, running: int, waiting: int) -> PrefillChunk | None:
        """The next chunk for `waiting` prompts beside `running` sequences; None to skip prefill in this iteration.

        After a slow step prefill is skipped, unless more requests wait than are running: both together would be a
        stall.
        """
        if not running:
            return PrefillChunk(self._most)
        if self._step_seconds is None:
            return None
        self._was_left = self._is_slow and not self._was_left and waiting <= running
        if self._was_left:
            return None
        self._chunks = self._chunks + 1 if running == self._running else 1
        self._running = running
        is_measured = self._chunks <= _CHUNKS_BETWEEN_MEASURES or not self._chunks % _CHUNKS_BETWEEN_MEASURES
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
        """Predicted time of a layer for so many tokens."""
        assert self._measured is not None
        known, seconds = self._measured
        doublings = math.log2(max(tokens, 1) / max(known, 1))
        foreseen: float = seconds * (_DOUBLED**doublings if doublings > 0 else _HALVED**-doublings)
        return foreseen


def _learned(before: float | None, now: float, share: float) -> float:
    """Moving average that limits outliers, as when caches grow or the machine has other work."""
    return now if before is None else before + (min(now, _SLOW * before) - before) * share
