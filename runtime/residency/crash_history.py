"""Backoff for models whose processes end before they have answered anything.

Such a model is likely to crash again, and each attempt costs a whole load.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.quantities import format_seconds
from mlxbuild.runtime.residency.errors import ModelKeepsDying

MOST = 3
"""How many processes of a model may end in a row before it is refused."""
REST_SECONDS = 300.0
"""How long the model is refused then; afterwards it is tried once per such period."""


@dataclass(frozen=True, slots=True)
class _Record:
    count: int
    last: MlxbuildError
    at: float


class CrashHistory:
    """The crashes of one server's models, by digest. Not thread-safe: for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[Digest, _Record] = {}

    def note(self, digest: Digest, error: MlxbuildError) -> None:
        """Record that a model's process ended by itself before it had answered anything."""
        before = self._records.get(digest)
        self._records[digest] = _Record(1 if before is None else before.count + 1, error, self._clock())

    def forget(self, digest: Digest) -> None:
        """Reset the count, because the model has answered or should be tried again regardless."""
        self._records.pop(digest, None)

    def require_rested(self, digest: Digest, name: str) -> None:
        """Return if the model may be loaded.

        Raises:
            ModelKeepsDying: its processes ended too often in a row, the last one not long ago.
        """
        record = self._records.get(digest)
        if record is None or record.count < MOST:
            return
        left = record.at + REST_SECONDS - self._clock()
        if left <= 0:
            return
        again = f"it is tried again in {format_seconds(left)}, or at once after `mlxbuild stop {name}`"
        message = f"`{name}` was loaded {record.count} times and has answered nothing: {record.last.message}"
        error = ModelKeepsDying(message, hint="; ".join(filter(None, (record.last.hint, again))))
        error.retry_seconds = left
        raise error
