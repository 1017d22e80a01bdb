"""Measures decode steps and the prefill beside them separately. What follows from the times: `prefill_budget`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlxbuild.runtime.engine.core.prefill_budget import PrefillBudget


@dataclass(frozen=True, slots=True)
class _Prefill:
    """A chunk that may still be in progress."""

    tokens: int
    layers: int
    begun: float | None
    """When it started, with nothing else in progress; None if it is not measured."""


class StepTimes:
    """Times each iteration of an engine for its prefill budget.

    The calls of an iteration are `begin`, then decode steps, `stepped`, then prefill, `prefilled`.
    """

    def __init__(self, prefill_budget: PrefillBudget, settle: Callable[[], None]) -> None:
        """`settle` waits until the last chunk is computed."""
        self._prefill_budget = prefill_budget
        self._settle = settle
        self._lap_at = 0.0
        self._prefill: _Prefill | None = None
        """The chunk that was started in the last iteration."""
        self._prefill_seconds: float | None = None
        """How long that chunk took; 0 if there was none, None if it was not measured."""
        self._is_usual = True
        self._was_disturbed = False

    def disturb(self) -> None:
        """Ignore this iteration and the next: removing sequences computes something, and waits for everything in
        progress.
        """
        self._was_disturbed = True

    def begin(self) -> None:
        """Decode steps follow. A chunk that is measured is waited for now, as the steps would wait for it anyway."""
        prefill, self._prefill = self._prefill, None
        self._prefill_seconds = None
        self._is_usual, self._was_disturbed = not self._was_disturbed, False
        if prefill is None:
            self._prefill_seconds = 0.0
        elif prefill.begun is not None:
            self._settle()
            self._prefill_seconds = time.perf_counter() - prefill.begun
            self._prefill_budget.prefilled(prefill.tokens, prefill.layers, self._prefill_seconds)

    def stepped(self, *, has_written: bool) -> None:
        """All decode steps of this iteration were taken. The first step of a sequence gives no token, and is not
        counted.
        """
        seconds = self._lap()
        if has_written and self._is_usual and not self._was_disturbed and self._prefill_seconds is not None:
            self._prefill_budget.stepped(seconds - self._prefill_seconds)

    def prefilled(self, tokens: int, layers: int, begun: float, *, is_alone: bool, is_measured: bool) -> None:
        """Record a chunk that was started, or finished if no answer is being decoded."""
        if is_alone:
            self._lap()
        if tokens and is_alone:
            self._prefill_budget.prefilled(tokens, layers, time.perf_counter() - begun)
        elif tokens:
            self._prefill = _Prefill(tokens, layers, begun if is_measured else None)

    def _lap(self) -> float:
        before, self._lap_at = self._lap_at, time.perf_counter()
        return self._lap_at - before
