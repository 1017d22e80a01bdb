"""How much of a prompt is read at once: all that is useful while nobody waits, little while answers are running."""

from __future__ import annotations

_SHARE = 0.9
"""Seconds of reading for each second that the running answers take for a step."""
_SMALLEST_TOKENS = 8
_SMOOTHING = 0.25
_PARTS_BETWEEN_LOOKS = 64
"""As many parts are read before it is measured again how long a step takes by itself."""


class Pace:
    """Keeps parts of prompts in proportion to the steps between them, so that running answers stay fluent."""

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._step_seconds: float | None = None
        self._token_seconds: float | None = None
        self._parts = 0

    def ticked(self, seconds: float, read_tokens: int) -> None:
        """Answers took a step, and after it so many tokens of prompts were read, in as many seconds together."""
        if not read_tokens:
            self._step_seconds = _smoothed(self._step_seconds, seconds)
        else:
            reading = max(seconds - (self._step_seconds or 0.0), 0.1 * seconds)
            self._token_seconds = _smoothed(self._token_seconds, reading / read_tokens)

    def part_tokens(self, *, answers_are_running: bool) -> int:
        """How many tokens to read next, at most; 0 to leave one step alone.

        A power of two: few sizes are few shapes to compute with.
        """
        if not answers_are_running:
            return self._most_tokens
        self._parts += 1
        if self._step_seconds is None or self._parts % _PARTS_BETWEEN_LOOKS == 0:
            return 0
        if self._token_seconds is None:
            return _SMALLEST_TOKENS
        fitting = int(_SHARE * self._step_seconds / self._token_seconds)
        return max(_SMALLEST_TOKENS, min(self._most_tokens, 1 << (max(fitting, 1).bit_length() - 1)))


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + (now - before) * _SMOOTHING
