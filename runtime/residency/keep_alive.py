"""How long a model stays in memory after its last request, as callers and the environment write it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlxbuild.registry.core.durations import duration_seconds, setting_seconds
from mlxbuild.registry.core.errors import UserError

_LONGEST_SECONDS = 2**63 / 1e9
"""Go's longest duration, about 292 years. Anything longer means forever."""


class InvalidKeepAlive(UserError):
    """A `keep_alive` is neither a number of seconds nor a duration."""

    code = "invalid-keep-alive"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long a model stays in memory; None means forever, and 0 unloads it at once."""

    seconds: float | None

    @classmethod
    def parse(cls, value: object) -> KeepAlive:
        """Parse the value of a request: a number of seconds, or a duration in Go's syntax (`5m`, `1h30m`, `300ms`).

        Negative values mean forever. A string needs a unit, except `0`.

        Raises:
            InvalidKeepAlive: the value is none of these.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
            return cls._of(value)
        if isinstance(value, str) and (seconds := duration_seconds(value)) is not None:
            return cls._of(seconds)
        hint = "write seconds as a number, or a text with a unit such as `5m`; a negative number keeps it forever"
        raise InvalidKeepAlive(f"keep_alive cannot be {value!r}", hint=hint)

    @classmethod
    def from_setting(cls, value: object) -> KeepAlive:
        """Parse the value of an environment variable or of the configuration, where seconds need no unit.

        Raises:
            InvalidKeepAlive: the value is neither a number of seconds nor a duration.
        """
        seconds = setting_seconds(value)
        return cls.parse(value) if seconds is None else cls.parse(seconds)

    @classmethod
    def _of(cls, seconds: float) -> KeepAlive:
        return cls(None if seconds < 0 or seconds > _LONGEST_SECONDS else float(seconds))


FOREVER = KeepAlive(None)
FIVE_MINUTES = KeepAlive(300.0)
