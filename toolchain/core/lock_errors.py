"""Errors of locks that cannot be used as they are."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError


class LockProblem(UserError):
    """A lock cannot be used as it is."""

    code = "lock"
    exit_code = 7


class StaleLock(LockProblem):
    """The lock does not say what the recipe and its local sources say."""

    code = "lock-stale"


class LockMissing(LockProblem):
    """There is no lock beside the recipe."""

    code = "lock-missing"


class DamagedLock(LockProblem):
    """The lock is not as it was generated: a merge, an edit, or a truncated write."""

    code = "lock-damaged"
