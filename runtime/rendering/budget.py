"""Counts the work and memory of one rendering against its limits; `sandbox` says which operations count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from jinja2.exceptions import TemplateRuntimeError

from mlxbuild.runtime.rendering.limits import Limits

_CHARACTERS_OF_A_STEP = 1024
_MIB = 1024 * 1024


class BudgetExceeded(TemplateRuntimeError):
    """A template takes more steps or memory than the limits allow."""


@dataclass(slots=True)
class _Budget:
    limits: Limits
    steps: int
    bytes: int


_NOTHING_MORE = Limits()
_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Limit everything that is compiled or rendered inside to one shared budget."""
    token = _budget.set(_Budget(limits, limits.steps, limits.made_bytes))
    try:
        yield
    finally:
        _budget.reset(token)


def spend(steps: int) -> None:
    """Count steps: loop iterations, calls, and items that are created or printed.

    Raises:
        TooMuch: the budget has fewer steps left.
    """
    budget = _budget.get()
    if budget is not None:
        budget.steps -= steps
        if budget.steps < 0:
            raise BudgetExceeded(
                f"the template takes more than {budget.limits.steps:,} steps; does it loop without end?"
            )


def pay_for_text(text: str | bytes) -> None:
    """Count a string that was created: its length, and the memory it takes.

    Raises:
        TooMuch: the string is too long, or all strings together take too much memory.
    """
    check_characters(len(text))
    if len(text) < _CHARACTERS_OF_A_STEP:
        return
    spend(len(text) // _CHARACTERS_OF_A_STEP)
    budget = _budget.get()
    if budget is not None:
        budget.bytes -= sys.getsizeof(text)
        if budget.bytes < 0:
            raise BudgetExceeded(
                f"the template makes texts of more than {budget.limits.made_bytes // _MIB:,} MiB in all"
            )


def check_characters(characters: int) -> None:
    """Check the length of a string before it is created.

    Raises:
        TooMuch: it would be too long.
    """
    most = _limits().characters
    if characters > most:
        raise BudgetExceeded(f"the template makes a text of more than {most:,} characters")


def check_bits(bits: int) -> None:
    """Check the size of an integer before it is created.

    Raises:
        TooMuch: it would be too large.
    """
    most = _limits().bits
    if bits > most:
        raise BudgetExceeded(f"the template makes an integer of more than {most:,} bits")


def _limits() -> Limits:
    budget = _budget.get()
    return _NOTHING_MORE if budget is None else budget.limits
