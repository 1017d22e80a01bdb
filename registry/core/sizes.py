"""Sizes as people write them in settings and options: `10GB`, `1.5GiB`, or bytes."""

from __future__ import annotations

import re

FORMS = "`10GB`, `1.5GiB`"
"""Examples with units, for error messages."""
UNITS = "B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"
"""The units, for error messages."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def size_bytes(value: object) -> int | None:
    """The bytes of a size, where a plain number means bytes; None if the value is not a size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        return None if match is None else int(float(match[1]) * _SCALES[(match[2] or "").lower()])
    except OverflowError:
        return None
