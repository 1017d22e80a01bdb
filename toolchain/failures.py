"""Converts errors to events; every mistake in a recipe becomes an event with its own location."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.events.model import Failed
from mlxbuild.toolchain.spec.errors import SpecError


def failure(error: MlxbuildError, count: int = 1) -> Failed:
    """An error as one event; `count` is the number of actions that raised it."""
    where = None if error.where is None else str(error.where)
    if where is not None and count > 1:
        where = f"{where} and {count - 1} more"
    return Failed(error.code, error.kind.value, error.message, where, error.hint)


def distinct_failures(errors: Sequence[MlxbuildError]) -> Iterator[Failed]:
    """One event for all errors that are alike: a bad source fails every block that reads it."""
    counts = Counter((error.code, error.message) for error in errors)
    first = {(error.code, error.message): error for error in reversed(errors)}
    return (failure(first[key], count) for key, count in counts.items())


def failures(error: MlxbuildError) -> Iterator[Failed]:
    """An error as events: one for each mistake in a recipe, else a single one."""
    if not isinstance(error, SpecError):
        yield failure(error)
        return
    for problem in error.problems:
        yield Failed(problem.code.value, error.kind.value, problem.message, str(problem.location), problem.hint)
