"""The errors raised when a lock cannot be used."""

from __future__ import annotations

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
