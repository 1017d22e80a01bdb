"""The verdict of a gate's implementation, from which the gate's result is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the gate passed, a message, and measured values."""

    passed: bool
    message: str
    measured: Mapping[str, Any] = field(default_factory=dict)
