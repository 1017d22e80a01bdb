"""What a caller may set for one answer, with its checks. Where defaults come from lives with the session."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from registry.errors import UserError


class InvalidOption(UserError):
    """An option has an unknown name or a value out of its range."""

    code = "invalid-option"


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling and bounds of one answer. The defaults take the most likely token always.

    Filters work in mlx-lm's order: top_p, min_p, top_k, each on the probabilities before temperature.

    Raises:
        InvalidOption: a value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """How many tokens back, prompt included, the penalty looks; -1 for all."""
    seed: int | None = None
    """None takes a new one each time."""
    max_tokens: int | None = None
    """None goes on until the context is full."""
    stops: tuple[str, ...] = ()
    logprobs: bool = False
    """Whether pieces carry the log-probability of their token."""

    def __post_init__(self) -> None:
        checks = {
            "temperature": 0 <= self.temperature <= 10,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
            "repeat_penalty": 0 < self.repeat_penalty <= 10,
            "repeat_last_n": self.repeat_last_n >= -1,
            "seed": self.seed is None or 0 <= self.seed < 2**64,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 1,
            "stops": all(self.stops),
        }
        for name, holds in checks.items():
            if not holds:
                raise InvalidOption(f"{name} cannot be {getattr(self, name)!r}", hint=_RANGES[name])

    def changed(self, options: Mapping[str, Any]) -> Options:
        """With other values; None leaves a value as it is.

        Raises:
            InvalidOption: an unknown name, a wrong type, or a value out of its range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in _NAMES:
                near = difflib.get_close_matches(name, _NAMES, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_NAMES)}"
                raise InvalidOption(f"there is no option `{name}`", hint=hint)
        if "stops" in given:
            given["stops"] = (given["stops"],) if isinstance(given["stops"], str) else tuple(given["stops"])
        try:
            return replace(self, **given)
        except TypeError as error:
            raise InvalidOption(f"an option has a value of a wrong type: {error}") from None


_NAMES = tuple(field.name for field in fields(Options))
_RANGES = {
    "temperature": "between 0 and 10",
    "top_p": "above 0, at most 1",
    "top_k": "0 or more",
    "min_p": "between 0 and 1",
    "repeat_penalty": "above 0, at most 10",
    "repeat_last_n": "-1 for all, or a number of tokens",
    "seed": "0 or more, below 2**64",
    "max_tokens": "1 or more",
    "stops": "texts that are not empty",
}
