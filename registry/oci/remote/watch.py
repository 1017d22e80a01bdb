"""Time limits of one request, whoever sends it: its connection, the beginning of its answer, the rate of its bytes.

Only waiting for the other side is counted, never what is done with the bytes in between. Sockets tell of every wait and
every byte; the clocks of HTTP libraries begin anew with each byte, so that a byte a minute would keep them content.
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
"""The rate is judged whenever so many bytes are due, and an attempt was useful if it moved so many."""
_RATE = "least_bytes_per_second"
_SETTLED_BYTES_PER_SECOND = 16 * 1024 * 1024
"""How fast a registry at least takes in an upload that has arrived."""

_Result = TypeVar("_Result")


class Awaited(Enum):
    """What the other side lets wait for, and how it is told that it did."""

    CONNECTION = "made no connection"
    ENCRYPTION = "began no encryption"
    ANSWER = "gave no answer"
    BYTES = "sent nothing more"
    RECEIVER = "took nothing more"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is waited."""

    connect_seconds: float
    """For the connection to an address, and for the beginning of encryption."""
    read_seconds: float
    """For an answer to begin, and for any bytes after it."""
    least_bytes_per_second: float
    """In both directions, judged over `DUE_BYTES`."""


def variable(setting: str) -> str:
    """The environment variable that comes before a number in config.yaml."""
    return f"MLXBUILD_REGISTRY_{setting.upper()}"


@dataclass(frozen=True, slots=True)
class Overrun:
    """A limit that was passed."""

    awaited: Awaited
    setting: str
    """The name of the limit."""
    story: str
    """What happened, to follow the name of the other side."""

    @property
    def hint(self) -> str:
        """What to do about it."""
        change = "lower" if self.setting == _RATE else "raise"
        setting = f"`{self.setting}` in config.yaml, or {variable(self.setting)}"
        return f"check the network; where it is only slow, {change} {setting}"


class Watch:
    """One request. Use it from one thread at a time.

    Args:
        complain: Makes the error of a limit that was passed.
        unsettled_bytes: What the other side has to take in before it answers, as the last request of an upload.
    """

    def __init__(self, limits: Limits, complain: Callable[[Overrun], Exception], *, unsettled_bytes: int = 0) -> None:
        self._limits = limits
        self._complain = complain
        self._settling_seconds = unsettled_bytes / _SETTLED_BYTES_PER_SECOND
        self._silent_seconds = 0.0
        self._due_seconds = 0.0
        self._moved_bytes = 0

    def attempt(self, once: Callable[[], _Result], awaited: Awaited) -> _Result:
        """Try again and again what waits no longer than `POLL_SECONDS`, until it does not end by TimeoutError.

        Raises:
            Exception: the error of the limit that is passed meanwhile, what cancels this thread, or what it raises.
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
        """Take note of bytes that went over.

        Raises:
            Exception: they come too slowly.
        """
        self._silent_seconds = 0.0
        if awaited is Awaited.ANSWER:  # from its first bytes on the rate is counted
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
            raise self._complain(Overrun(awaited, setting, f"{awaited.value} for {format_seconds(longest)}"))
        if awaited not in (Awaited.BYTES, Awaited.RECEIVER):
            return
        self._due_seconds += seconds
        rate = self._limits.least_bytes_per_second
        if self._due_seconds >= DUE_BYTES / rate:
            verb = "sent" if awaited is Awaited.BYTES else "took"
            told = f"{verb} {self._moved_bytes} bytes in {format_seconds(self._due_seconds)}"
            story = f"{told}, and {rate:g} a second are the least"
            raise self._complain(Overrun(awaited, _RATE, story))


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Have a watch hold for what this thread sends in the `with` statement, and for the answers to that."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Watch | None:
    """The watch of this thread."""
    return _current.get()


_current: ContextVar[Watch | None] = ContextVar("watch", default=None)
