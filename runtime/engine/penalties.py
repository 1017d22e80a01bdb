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

        looks_back = options.repeat_last_n != 0
        counts = options.presence_penalty != 0 or options.frequency_penalty != 0
        self._options = options
        self._repeats = options.repeat_penalty != 1 and looks_back
        self._counts_recent = counts and options.counts_recent and looks_back
        self._counts_answer = counts and not options.counts_recent
        self._recent = mx.array(_last(list(tokens), options.repeat_last_n) if looks_back else [], dtype=mx.uint32)
        self._answer = mx.array(list(tokens[len(tokens) - answer_tokens :]), dtype=mx.uint32)
        self._biased = mx.array(list(options.logit_bias), dtype=mx.uint32)
        self._biases = mx.array(list(options.logit_bias.values()), dtype=mx.float32)

    @staticmethod
    def of(options: Options, tokens: Sequence[int], *, answer_tokens: int = 0) -> Penalties | None:
        """None where the options leave logits as they are."""
        penalties = Penalties(options, tokens, answer_tokens=answer_tokens)
        changes = penalties._repeats or penalties._counts_recent or penalties._counts_answer or options.logit_bias
        return penalties if changes else None

    def applied(self, logits: mx.array) -> mx.array:
        """Other logits for the next token; both have shape [1, V]."""

        options = self._options
        if options.logit_bias:
            logits = logits.at[:, self._biased].add(self._biases.astype(logits.dtype))
        if self._repeats and self._recent.size:
            logits = _discouraged(logits, self._recent[None], options.repeat_penalty)
        if self._counts_recent and self._recent.size:
            logits = _counted(logits, self._recent, options)
        if self._counts_answer and self._answer.size:
            logits = _counted(logits, self._answer, options)
        return logits

    def take(self, token: mx.array) -> None:
        """A token was chosen; shape [1]."""
        import mlx.core as mx

        if self._repeats or self._counts_recent:
            self._recent = _last(mx.concatenate([self._recent, token]), self._options.repeat_last_n)
        if self._counts_answer:
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


def _counted(logits: mx.array, tokens: mx.array, options: Options) -> mx.array:
    """Take from the logits of tokens that were there, for each time and for being there at all."""
    import mlx.core as mx

    if options.frequency_penalty:
        logits = logits.at[:, tokens].subtract(mx.array(options.frequency_penalty, dtype=logits.dtype))
    if options.presence_penalty:
        there = mx.zeros_like(logits)
        there[:, tokens] = options.presence_penalty
        logits = logits - there
    return logits
