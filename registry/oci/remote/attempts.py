"""How often something is tried at a registry: attempts that came to nothing are counted, with pauses between them."""

from __future__ import annotations

import random

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.oci.remote.error_mapping import never_connected
from mlxbuild.registry.oci.remote.errors import RegistryFailure, RegistryTooSlow
from mlxbuild.registry.oci.remote.watch import DUE_BYTES

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 20.0
_MOST_PATIENCE_SECONDS = 120.0
_CONNECTION_ATTEMPTS = 3
_SLOW_ATTEMPTS = 2
"""A time limit is long: one that was passed twice is not tried a third time."""


class Attempts:
    """The attempts at one thing.

    Those that moved `DUE_BYTES` further than all before them were useful, and the count begins anew; so a registry that
    always stops at the same byte, or gives one byte a time, comes to an end.
    """

    def __init__(self, most: int, reached_bytes: int = 0) -> None:
        self._most = most
        self._furthest_bytes = reached_bytes
        self._fruitless = 0
        self._slow = 0

    def failed(self, error: RegistryFailure, reached_bytes: int = 0) -> None:
        """Count an attempt, and wait before the next one, as long as the registry asked for.

        Args:
            error: What ended it.
            reached_bytes: How far it came.

        Raises:
            RegistryFailure: that error, if it is of no use to try again.
        """
        if reached_bytes >= self._furthest_bytes + DUE_BYTES:
            self._furthest_bytes = reached_bytes
            self._fruitless = self._slow = 0
        else:
            self._fruitless += 1
            self._slow += isinstance(error, RegistryTooSlow)
        if not error.passing or self._fruitless >= self._most or self._slow >= _SLOW_ATTEMPTS:
            raise error
        if never_connected(error) and self._fruitless >= _CONNECTION_ATTEMPTS:
            raise error
        asked = error.retry_after
        if asked is not None and asked > _MOST_PATIENCE_SECONDS:
            raise error
        if asked is None:
            longest = min(_FIRST_PAUSE_SECONDS * 2 ** max(self._fruitless - 1, 0), _LONGEST_PAUSE_SECONDS)
            asked = longest * random.uniform(0.5, 1.0)
        cancellation.wait(asked)
