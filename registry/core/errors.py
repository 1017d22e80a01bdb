"""The root of the error tree; every package adds its own leaves below these kinds.

    MlxbuildError
    ├── UserError            exit 2   the recipe, a name or an option is wrong
    ├── StepError            exit 3   a step failed on valid input, and will fail again if run again
    ├── InfrastructureError  exit 5   network, registry or Hub; a retry may succeed
    ├── EnvironmentFailure   exit 6   this machine failed: disk, memory, permissions
    └── TrustError           exit 10  content does not match its digest or signature

A leaf may set another exit code (a stale lock is a user error with exit code 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from mlxbuild.registry.core.printable import printable


class Kind(StrEnum):
    """The part that has to change to fix an error."""

    USER = "user"
    STEP = "step"
    INFRASTRUCTURE = "infrastructure"
    ENVIRONMENT = "environment"
    TRUST = "trust"


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text file; line and column count from one."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [self.file]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)


class MlxbuildError(Exception):
    """An error that a person can act on.

    `message` says what happened, `where` the place (a file position, a step label, a path), `hint` what to do.
    Instances hold plain data only, so they cross process boundaries by pickling.
    """

    code: ClassVar[str] = "error"
    kind: ClassVar[Kind] = Kind.STEP
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: Location | str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), dict(self.__dict__)))

    def diagnostics(self) -> str:
        """Message, place and hint as plain text for a terminal. Control characters are escaped."""
        lines = [f"error[{self.code}]: {self.message}"]
        if self.where is not None:
            lines.append(f"  --> {self.where}")
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        return printable("\n".join(lines))


def _rebuild(kind: type[MlxbuildError], state: dict[str, object]) -> MlxbuildError:
    error = kind.__new__(kind)
    Exception.__init__(error, state.get("message"))
    error.__dict__.update(state)
    return error


class UserError(MlxbuildError):
    """The recipe, a name or an option is wrong."""

    code = "user"
    kind = Kind.USER
    exit_code = 2


class StepError(MlxbuildError):
    """A step failed deterministically."""

    code = "step"
    kind = Kind.STEP
    exit_code = 3


class InfrastructureError(MlxbuildError):
    """The network, a registry or the Hub failed."""

    code = "infrastructure"
    kind = Kind.INFRASTRUCTURE
    exit_code = 5


class EnvironmentFailure(MlxbuildError):
    """Something on this machine failed: disk, memory, permissions."""

    code = "environment"
    kind = Kind.ENVIRONMENT
    exit_code = 6


class TrustError(MlxbuildError):
    """Content does not match its digest or signature."""

    code = "trust"
    kind = Kind.TRUST
    exit_code = 10
