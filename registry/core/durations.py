"""Durations as people write them in settings and requests: `5m`, `1h30m`, `300ms`, or seconds."""

from __future__ import annotations

import math
import re

FORMS = "`5m`, `1h30m`, `500ms`"
"""Examples with units, for error messages."""
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:0|(?:{_PART.pattern})+)")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def duration_seconds(text: str) -> float | None:
    """The seconds of a duration in Go's syntax, with a unit unless it is `0`; None if the text is not a duration."""
    if not _DURATION.fullmatch(text):
        return None
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds


def setting_seconds(value: object) -> float | None:
    """The seconds of a duration in a setting, where a plain number means seconds; None if it is not a duration."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return None if math.isnan(value) else float(value)
        except OverflowError:
            return None
    if not isinstance(value, str):
        return None
    text = value.strip()
    return float(text) if _NUMBER.fullmatch(text) else duration_seconds(text)
