"""How long a model stays in memory after its last request, as callers and the environment write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from registry.errors import UserError

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_PART.pattern})+)")
_LONGEST_SECONDS = 2**63 / 1e9
"""Go's longest duration: about 292 years. Anything longer is forever."""


class InvalidKeepAlive(UserError):
    """A `keep_alive` is neither a number of seconds nor a duration."""

    code = "invalid-keep-alive"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A time to stay; None is forever, 0 unloads at once."""

    seconds: float | None

    @classmethod
    def parse(cls, value: object) -> KeepAlive:
        """As requests write it: a number of seconds, or a duration as Go writes them (`5m`, `1h30m`, `300ms`).

        Negative ones are forever. A text needs a unit, except `0`.

        Raises:
            InvalidKeepAlive: it is none of these.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
            return cls._of(value)
        if isinstance(value, str) and _DURATION.fullmatch(value):
            amount = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(value))
            return cls._of(-amount if value.startswith("-") else amount)
        hint = "write seconds as a number, or a text with a unit such as `5m`; a negative number keeps it forever"
        raise InvalidKeepAlive(f"keep_alive cannot be {value!r}", hint=hint)

    @classmethod
    def from_setting(cls, text: str) -> KeepAlive:
        """As the environment and the configuration write it: there, whole seconds need no unit.

        Raises:
            InvalidKeepAlive: it is neither.
        """
        text = text.strip()
        return cls._of(int(text)) if re.fullmatch(r"[-+]?\d+", text) else cls.parse(text)

    @classmethod
    def _of(cls, seconds: float) -> KeepAlive:
        return cls(None if seconds < 0 or seconds > _LONGEST_SECONDS else float(seconds))


FOREVER = KeepAlive(None)
FIVE_MINUTES = KeepAlive(300.0)
