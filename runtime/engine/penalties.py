"""What a request does to logits before a token is chosen: penalties for what was there, and its own biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from runtime.engine.options import Options

if TYPE_CHECKING:
    import mlx.core as mx

Tokens = TypeVar("Tokens", "list[int]", "mx.array")


class Penalties:
    """Of one answer. Tokens are taken in before anybody has read them, so that a batch need not wait for its rows."""

    def __init__(self, options: Options, tokens: Sequence[int], *, answer_tokens: int = 0) -> None:
        """`tokens` are those so far, of which the last `answer_tokens` belong to the answer."""
        import mlx.core as mx

        self._options = options
        self._repeats = options.repeat_penalty != 1 and options.repeat_last_n != 0
        self._counts = options.presence_penalty != 0 or options.frequency_penalty != 0
        self._past = mx.array(_last(list(tokens), options.repeat_last_n) if self._repeats else [], dtype=mx.uint32)
        self._answer = mx.array(list(tokens[len(tokens) - answer_tokens :]), dtype=mx.uint32)
        self._biased = mx.array(list(options.logit_bias), dtype=mx.uint32)
        self._biases = mx.array(list(options.logit_bias.values()), dtype=mx.float32)

    @staticmethod
    def of(options: Options, tokens: Sequence[int], *, answer_tokens: int = 0) -> Penalties | None:
        """None where the options leave logits as they are."""
        penalties = Penalties(options, tokens, answer_tokens=answer_tokens)
        return penalties if penalties._repeats or penalties._counts or options.logit_bias else None

    def applied(self, logits: mx.array) -> mx.array:
        """Other logits for the next token; both have shape [1, V]."""
        import mlx.core as mx

        options = self._options
        if options.logit_bias:
            logits = logits.at[:, self._biased].add(self._biases.astype(logits.dtype))
        if self._repeats and self._past.size:
            logits = _discouraged(logits, self._past[None], options.repeat_penalty)
        if self._counts and self._answer.size:
            if options.frequency_penalty:
                logits = logits.at[:, self._answer].subtract(mx.array(options.frequency_penalty, dtype=logits.dtype))
            if options.presence_penalty:
                there = mx.zeros_like(logits)
                there[:, self._answer] = options.presence_penalty
                logits = logits - there
        return logits

    def take(self, token: mx.array) -> None:
        """A token was chosen; shape [1]."""
        import mlx.core as mx

        if self._repeats:
            self._past = _last(mx.concatenate([self._past, token]), self._options.repeat_last_n)
        if self._counts:
            self._answer = mx.concatenate([self._answer, token])


def _last(tokens: Tokens, count: int) -> Tokens:
    """The last ones; all of them where the count is negative."""
    return tokens if count < 0 else tokens[-count:]


def _discouraged(logits: mx.array, tokens: mx.array, penalty: float) -> mx.array:
    """Divide positive and multiply negative logits of tokens that were there (arXiv:1909.05858)."""
    import mlx.core as mx

    chosen = mx.take_along_axis(logits, tokens, axis=-1)
    chosen = mx.where(chosen < 0, chosen * penalty, chosen / penalty)
    return mx.put_along_axis(logits, tokens, chosen, axis=-1)
