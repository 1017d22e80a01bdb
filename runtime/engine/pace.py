"""How much of a prompt is read at once: all that is useful while nobody waits, little while answers are running."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_STEPS = 0.9
"""So many steps of the running answers may be spent on reading between two of them."""
_UNNOTICED_SECONDS = 0.009
"""So long may always be read: nobody sees it, and other requests wait for their prompts to be read."""
_SLOW = 1.5
"""What takes so many times as long as usual is slow."""
_FIRST_TOKENS, _FEWEST_TOKENS = 32, 4
_DOUBLED, _HALVED = 1.8, 0.65
"""So much longer take twice as many tokens to go through a layer, at most; and so much of it half as many."""
_SMOOTHING = 0.3
_PARTS_BETWEEN_LOOKS = 64
"""As many parts are read before it is measured again how long a step takes by itself."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What may be read at once."""

    tokens: int
    """How many of a prompt go through a layer together."""
    together: int
    """How many of several short prompts go through all layers together, padding included."""
    size: int | None = None
    """Tokens times the layers that they go through, one at least; None for all layers, when nobody waits."""


class Pace:
    """Keeps the reading of prompts in proportion to the steps between, so that running answers stay fluent.

    Numbers of tokens are halved and doubled, as few sizes are few shapes to compute with.
    """

    def __init__(self, *, most: int, depth: int) -> None:
        """For a model with so many layers. `most` tokens are read at once when nobody waits."""
        self._most, self._depth = most, depth
        self._step_seconds: float | None = None
        self._tokens = min(_FIRST_TOKENS, most)
        self._layer_seconds: float | None = None
        """What a layer takes for so many tokens; None until that was measured for any number."""
        self._is_measured = False
        """Whether it was for this number."""
        self._token_seconds: float | None = None
        """What a token takes in one layer, however many go together."""
        self._last_tokens = 0
        """How many were read at the last tick: they may be computed in the time of this one."""
        self._joined = False
        """Whether rows joined the running ones at the last tick."""
        self._parts = 0

    def ticked(self, seconds: float, tokens: int = 0, layers: int = 0, *, joined: bool = False) -> None:
        """Running answers took a step, and so many tokens began to go through so many layers: in so much time.

        Nothing is learned of reading when rows have `joined` the running ones, which takes time here and in the next.
        """
        last, self._last_tokens = self._last_tokens, tokens
        is_joining, self._joined = joined or self._joined, joined
        if is_joining:
            return
        if not tokens and not last:
            before = self._step_seconds  # now and then a step takes long, as when caches grow: that is not the usual
            self._step_seconds = _smoothed(before, seconds if before is None else min(seconds, _SLOW * before))
        elif tokens and self._step_seconds is not None:
            reading = max(seconds - self._step_seconds, 0.0)
            self._learn(reading / (tokens * layers))
            if tokens == last == self._tokens:
                self._layer_seconds = _smoothed(self._layer_seconds if self._is_measured else None, reading / layers)
                self._is_measured = True

    def read_alone(self, tokens: int, layers: int, seconds: float) -> None:
        """So much was read while no answers were running."""
        token_seconds = seconds / (tokens * layers)
        if self._token_seconds is None or token_seconds < self._token_seconds:
            self._token_seconds = token_seconds

    def _learn(self, token_seconds: float) -> None:
        before = self._token_seconds
        if before is not None and token_seconds < before:
            # Some of it does not depend on how much is read, so more takes less: larger parts will tell.
            self._token_seconds = max(token_seconds, before / 2)
        else:
            self._token_seconds = _smoothed(before, token_seconds)

    def portion(self, step_seconds: float | None) -> Portion | None:
        """What to read next; None to leave one step alone.

        `step_seconds` is how long the step just before was waited for; None where no answers are running. After a slow
        one nothing is read: both together would be a stall.
        """
        if step_seconds is None:
            return Portion(self._most, self._most)
        if self._step_seconds is None:
            return None
        bound = max(_MOST_STEPS * self._step_seconds, _UNNOTICED_SECONDS)
        if step_seconds > _SLOW * (self._step_seconds + (bound if self._last_tokens else 0.0)):
            return None
        self._parts += 1
        if self._parts % _PARTS_BETWEEN_LOOKS >= _PARTS_BETWEEN_LOOKS - 2:
            return None  # twice: the first step is still busy with what was read before
        self._adapt(bound)
        size = self._tokens if self._token_seconds is None else int(bound / max(self._token_seconds, 1e-9))
        together = min(size // self._depth, self._most)
        if self._layer_seconds is not None:
            size = min(size, int(bound / max(self._layer_seconds, 1e-9)) * self._tokens)
        return Portion(self._tokens, together, min(size, self._most * self._depth))

    def _adapt(self, bound_seconds: float) -> None:
        taken = self._layer_seconds
        if taken is None or not self._is_measured:
            return
        if taken > bound_seconds and self._tokens > _FEWEST_TOKENS:
            self._change(self._tokens // 2, _HALVED * taken)
        elif taken * _DOUBLED <= bound_seconds and self._tokens < self._most:
            self._change(min(self._tokens * 2, self._most), _DOUBLED * taken)

    def _change(self, tokens: int, foreseen_seconds: float) -> None:
        self._tokens, self._layer_seconds, self._is_measured = tokens, foreseen_seconds, False


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + (now - before) * _SMOOTHING
