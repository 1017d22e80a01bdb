"""Measures what decode steps take, and the prefill beside them, each by itself. What follows: `prefill_budget`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlxbuild.runtime.engine.core.prefill_budget import PrefillBudget


@dataclass(frozen=True, slots=True)
class _Reading:
    """A part of a prompt that may still be under way."""

    tokens: int
    layers: int
    begun: float | None
    """When it was, with nothing else under way; None where it is not to be measured."""


class StepTimes:
    """Of one engine, in each iteration: `begin`, steps, `stepped`, then prefill, `was_read`. The budget is told."""

    def __init__(self, prefill_budget: PrefillBudget, settle: Callable[[], None]) -> None:
        """`settle` waits until what was read last is computed."""
        self._prefill_budget = prefill_budget
        self._settle = settle
        self._lap_at = 0.0
        self._reading: _Reading | None = None
        """What was read beside the last steps."""
        self._read_seconds: float | None = None
        """What that took; None where it was not measured, or nothing was read."""
        self._is_usual = True
        self._was_disturbed = False

    def disturb(self) -> None:
        """Rows leave: that computes, and waits for all that is under way, so these steps and the next tell nothing."""
        self._was_disturbed = True

    def begin(self) -> None:
        """Steps come now. What was read is waited for if it is to be measured: they would wait for it anyhow."""
        reading, self._reading = self._reading, None
        self._read_seconds = None
        self._is_usual, self._was_disturbed = not self._was_disturbed, False
        if reading is None:
            self._read_seconds = 0.0
        elif reading.begun is not None:
            self._settle()
            self._read_seconds = time.perf_counter() - reading.begun
            self._prefill_budget.read(reading.tokens, reading.layers, self._read_seconds)

    def stepped(self, *, has_written: bool) -> None:
        """All steps of this iteration were taken; the first step of rows writes nothing, and tells nothing."""
        seconds = self._lap()
        if has_written and self._is_usual and not self._was_disturbed and self._read_seconds is not None:
            self._prefill_budget.stepped(seconds - self._read_seconds)

    def was_read(self, tokens: int, layers: int, begun: float, *, is_alone: bool, is_measured: bool) -> None:
        """So many tokens began to go through so many layers, and have gone where no answers are running."""
        if is_alone:
            self._lap()
        if tokens and is_alone:
            self._prefill_budget.read(tokens, layers, time.perf_counter() - begun)
        elif tokens:
            self._reading = _Reading(tokens, layers, begun if is_measured else None)

    def _lap(self) -> float:
        before, self._lap_at = self._lap_at, time.perf_counter()
        return self._lap_at - before
