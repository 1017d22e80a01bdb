"""The errors raised when a lock cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from mlxbuild.registry.core.errors import UserError


class LockProblem(UserError):
    """A lock cannot be used."""

    code = "lock"
    exit_code = 7


class StaleLock(LockProblem):
    """The lock no longer agrees with the recipe or its local sources."""

    code = "lock-stale"


class LockMissing(LockProblem):
    """There is no lock beside the recipe."""

    code = "lock-missing"


class DamagedLock(LockProblem):
    """The lock is not as it was generated, because of a merge, an edit or a truncated write."""

    code = "lock-damaged"


class UnusableLocks(LockProblem):
    """Locks of several recipes are missing, stale or damaged."""

    code = "locks-unusable"


def require_usable(problems: Sequence[LockProblem]) -> None:
    """Report the problems of all locks at once.

    Raises:
        LockProblem: the only one, or one that lists them all.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = "\n".join(f"  {problem.where}: {problem.message}" for problem in problems)
        raise UnusableLocks(
            f"{len(problems)} locks cannot be used\n{told}",
            hint="run `mlxbuild lock` for these recipes, and commit them",
        )
