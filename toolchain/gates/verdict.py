"""What a kind of gate says of an artifact, before the gate's name is put to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it holds, what was seen, and the figures."""

    passed: bool
    message: str
    measured: Mapping[str, Any] = field(default_factory=dict)
