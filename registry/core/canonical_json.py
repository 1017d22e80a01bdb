"""The canonical JSON encoding from which digests and action keys are computed."""

from __future__ import annotations

import json
from typing import Any


def encode(value: Any) -> bytes:
    """Encode plain JSON data: UTF-8, keys sorted by code point, no spaces, no NaN.

    Finite floats are written in Python's shortest form, which is the same on every platform.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not plain JSON data.
    """
    return _encode(value).encode()


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
