"""Converts errors to plain data for another process, and back."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from mlxbuild.registry.core.errors import (
    EnvironmentFailure,
    InfrastructureError,
    MlxbuildError,
    StepError,
    TrustError,
    UserError,
)
from mlxbuild.runtime.protocol.events import Failure

_KINDS: tuple[type[MlxbuildError], ...] = (UserError, StepError, InfrastructureError, EnvironmentFailure, TrustError)


class Unexpected(StepError):
    """An error that mlxbuild does not know; the log has the traceback."""

    code = "unexpected"


def as_failure(error: BaseException) -> Failure:
    """An error as plain data; an error that is not an `MlxbuildError` becomes `Unexpected`."""
    if not isinstance(error, MlxbuildError):
        error = Unexpected(f"{type(error).__name__}: {error}", hint="please report it, with the log")
    where = None if error.where is None else str(error.where)
    return Failure(error.code, str(error.kind), error.message, where, error.hint)


def as_error(failure: Failure) -> MlxbuildError:
    """The error of a failure, of its own class where this process has imported it, else of its kind."""
    leaf = _leaf(failure.code, failure.kind)
    error = leaf.__new__(leaf)  # a class may take other arguments than these
    MlxbuildError.__init__(error, failure.message, where=failure.where, hint=failure.hint)
    return error


@functools.cache
def _leaf(code: str, kind: str) -> type[MlxbuildError]:
    base = next((each for each in _KINDS if each.kind == kind), MlxbuildError)
    for leaf in _leaves(base):
        if leaf.code == code:
            return leaf
    return type("RemoteError", (base,), {"code": code, "__doc__": "An error whose class only the other process has."})


def _leaves(error: type[MlxbuildError]) -> Iterator[type[MlxbuildError]]:
    yield error
    for each in error.__subclasses__():
        yield from _leaves(each)
