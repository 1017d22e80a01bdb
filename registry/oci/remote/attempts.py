"""Retries requests to a registry with backoff; only attempts without progress are counted."""

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
"""The number of timeouts allowed: time limits are long, so there is no third attempt after two of them."""


class Attempts:
    """The attempts at one request or transfer.

    An attempt that got `DUE_BYTES` further than all before it made progress, and resets the count; so retries end at a
    registry that always stops at the same byte, or sends one byte at a time.
    """

    def __init__(self, most: int, reached_bytes: int = 0) -> None:
        self._most = most
        self._furthest_bytes = reached_bytes
        self._fruitless = 0
        self._slow = 0

    def failed(self, error: RegistryFailure, reached_bytes: int = 0) -> None:
        """Count a failed attempt, and wait before the next one, for the backoff or as long as the registry asked for.

        Args:
            error: The error that ended it.
            reached_bytes: How many bytes it got to.

        Raises:
            RegistryFailure: that error, if it should not be retried.
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
