"""Time limits of one request: for its connection, for the start of the response, and for the transfer rate.

Only waiting for the peer is counted, not the time spent on the bytes in between. Sockets report every wait and every
byte; the timeouts of HTTP libraries restart with each byte, so a peer that sends a byte a minute would never time out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.quantities import format_seconds

DUE_BYTES = 64 * 1024
"""The rate is checked over this many bytes, and an attempt that got this much further made progress."""
_RATE = "least_bytes_per_second"
_SETTLED_BYTES_PER_SECOND = 16 * 1024 * 1024
"""The least rate at which a registry is expected to process an upload before it answers."""

_Result = TypeVar("_Result")


class Awaited(Enum):
    """What is awaited from the peer, with the words for a message about it."""

    CONNECTION = "accepted no connection"
    ENCRYPTION = "did not start TLS"
    ANSWER = "gave no answer"
    BYTES = "sent nothing more"
    RECEIVER = "accepted no more bytes"


@dataclass(frozen=True, slots=True)
class Limits:
    """The time limits of requests."""

    connect_seconds: float
    """The limit for connecting to an address, and for the TLS handshake."""
    read_seconds: float
    """The limit for a response to begin, and for each wait for its next bytes."""
    least_bytes_per_second: float
    """The minimum rate in both directions, checked over `DUE_BYTES`."""


def variable(setting: str) -> str:
    """The environment variable that overrides a number in config.yaml."""
    return f"MLXBUILD_REGISTRY_{setting.upper()}"


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """A limit that was exceeded."""

    awaited: Awaited
    setting: str
    """The name of the limit."""
    story: str
    """What happened, as a phrase that follows the name of the peer."""

    @property
    def hint(self) -> str:
        """The hint on what to do."""
        change = "lower" if self.setting == _RATE else "raise"
        setting = f"`{self.setting}` in config.yaml, or {variable(self.setting)}"
        return f"check the network; if it is only slow, {change} {setting}"


class Watch:
    """The watch of one request. Use it from one thread at a time.

    Args:
        make_error: Makes the error for an exceeded limit.
        unsettled_bytes: The bytes that the peer has to process before it answers, as at the end of an upload.
    """

    def __init__(
        self, limits: Limits, make_error: Callable[[LimitExceeded], Exception], *, unsettled_bytes: int = 0
    ) -> None:
        self._limits = limits
        self._make_error = make_error
        self._settling_seconds = unsettled_bytes / _SETTLED_BYTES_PER_SECOND
        self._silent_seconds = 0.0
        self._due_seconds = 0.0
        self._moved_bytes = 0

    def attempt(self, once: Callable[[], _Result], awaited: Awaited) -> _Result:
        """Repeat a call that waits at most `POLL_SECONDS`, until it does not raise TimeoutError.

        Raises:
            Exception: the error of an exceeded limit, of a cancelled thread, or of the call itself.
        """
        while True:
            begun = time.monotonic()
            try:
                result = once()
            except TimeoutError:
                self._waited(time.monotonic() - begun, awaited)
            else:
                self._waited(time.monotonic() - begun, awaited)
                return result

    def moved(self, count: int, awaited: Awaited) -> None:
        """Count transferred bytes.

        Raises:
            Exception: they are transferred too slowly.
        """
        self._silent_seconds = 0.0
        if awaited is Awaited.ANSWER:  # the rate is measured from the first bytes on
            self._due_seconds = 0.0
            self._moved_bytes = 0
            return
        self._moved_bytes += count
        if self._moved_bytes >= DUE_BYTES:
            self._due_seconds = 0.0
            self._moved_bytes = 0

    def _waited(self, seconds: float, awaited: Awaited) -> None:
        cancellation.checkpoint()
        self._silent_seconds += seconds
        setting, longest = "read_seconds", self._limits.read_seconds
        if awaited in (Awaited.CONNECTION, Awaited.ENCRYPTION):
            setting, longest = "connect_seconds", self._limits.connect_seconds
        elif awaited is Awaited.ANSWER:
            longest += self._settling_seconds
        if self._silent_seconds >= longest:
            self._silent_seconds = 0.0
            raise self._make_error(LimitExceeded(awaited, setting, f"{awaited.value} for {format_seconds(longest)}"))
        if awaited not in (Awaited.BYTES, Awaited.RECEIVER):
            return
        self._due_seconds += seconds
        rate = self._limits.least_bytes_per_second
        if self._due_seconds >= DUE_BYTES / rate:
            verb = "sent" if awaited is Awaited.BYTES else "took"
            measured = f"{verb} {self._moved_bytes} bytes in {format_seconds(self._due_seconds)}"
            story = f"{measured}, and {rate:g} a second is the minimum"
            raise self._make_error(LimitExceeded(awaited, _RATE, story))


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Apply a watch to the requests that this thread sends in the `with` statement, and to their responses."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Watch | None:
    """The watch of this thread, if any."""
    return _current.get()


_current: ContextVar[Watch | None] = ContextVar("watch", default=None)
