"""Models whose processes end before they have answered anything: tried some times, then refused for a while.

What crashes by itself crashes again, and each time it costs a whole load.
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
"""So often a process may end in a row."""
REST_SECONDS = 300.0
"""So long nothing is loaded then; after that once."""


@dataclass(frozen=True, slots=True)
class _Record:
    count: int
    last: MlxbuildError
    at: float


class Deaths:
    """Of the models of one server, by digest. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[Digest, _Record] = {}

    def note(self, digest: Digest, error: MlxbuildError) -> None:
        """A model's process ended by itself, and had answered nothing."""
        before = self._records.get(digest)
        self._records[digest] = _Record(1 if before is None else before.count + 1, error, self._clock())

    def forget(self, digest: Digest) -> None:
        """It has answered, or is to be tried whatever happened."""
        self._records.pop(digest, None)

    def require_rested(self, digest: Digest, name: str) -> None:
        """Whether it may be loaded.

        Raises:
            ModelKeepsDying: its processes ended too often in a row, and not long ago.
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
