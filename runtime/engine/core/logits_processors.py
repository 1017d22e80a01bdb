"""Logits processors of a request: penalties, logit bias, and stop tokens that must not be sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.core.prepared_request import Prepared

if TYPE_CHECKING:
    import mlx.core as mx

Tokens = TypeVar("Tokens", "list[int]", "mx.array")


class Penalties:
    """The logits processors of one answer. They accept tokens that are not evaluated yet, so that a batch need not
    wait.
    """

    def __init__(self, prepared: Prepared, tokens: Sequence[int], *, answer_tokens: int = 0) -> None:
        """`tokens` are those of prompt and answer so far; the last `answer_tokens` of them belong to the answer."""
        import mlx.core as mx

        options = prepared.options
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
        self._answer_tokens = answer_tokens
        self._never = mx.array(list(prepared.ignored_tokens), dtype=mx.uint32)
        self._too_early = mx.array(list(prepared.stop_tokens) if options.min_tokens else [], dtype=mx.uint32)

    @staticmethod
    def of(prepared: Prepared, tokens: Sequence[int], *, answer_tokens: int = 0) -> Penalties | None:
        """The processors of a request; None if it leaves the logits unchanged."""
        penalties = Penalties(prepared, tokens, answer_tokens=answer_tokens)
        counts = penalties._repeats or penalties._counts_recent or penalties._counts_answer
        forbids = penalties._never.size or penalties._too_early.size
        return penalties if counts or forbids or prepared.options.logit_bias else None

    def applied(self, logits: mx.array) -> mx.array:
        """The processed logits of the next token (shape [1, V])."""

        options = self._options
        if options.logit_bias:
            logits = logits.at[:, self._biased].add(self._biases.astype(logits.dtype))
        if self._repeats and self._recent.size:
            logits = _discouraged(logits, self._recent[None], options.repeat_penalty)
        if self._counts_recent and self._recent.size:
            logits = _counted(logits, self._recent, options)
        if self._counts_answer and self._answer.size:
            logits = _counted(logits, self._answer, options)
        if self._never.size:
            logits = _without(logits, self._never)
        if self._too_early.size and self._answer_tokens < options.min_tokens:
            logits = _without(logits, self._too_early)
        return logits

    def take(self, token: mx.array) -> None:
        """Record a sampled token (shape [1])."""
        import mlx.core as mx

        self._answer_tokens += 1
        if self._repeats or self._counts_recent:
            self._recent = _last(mx.concatenate([self._recent, token]), self._options.repeat_last_n)
        if self._counts_answer:
            self._answer = mx.concatenate([self._answer, token])


def _without(logits: mx.array, tokens: mx.array) -> mx.array:
    """The logits without some tokens, which then cannot be sampled."""
    return logits.at[:, tokens].add(-math.inf)


def _last(tokens: Tokens, count: int) -> Tokens:
    """The last tokens; all of them if the count is negative."""
    return tokens if count < 0 else tokens[-count:]


def _discouraged(logits: mx.array, tokens: mx.array, penalty: float) -> mx.array:
    """Repetition penalty: divide positive and multiply negative logits of earlier tokens (arXiv:1909.05858)."""
    import mlx.core as mx

    chosen = mx.take_along_axis(logits, tokens, axis=-1)
    chosen = mx.where(chosen < 0, chosen * penalty, chosen / penalty)
    return mx.put_along_axis(logits, tokens, chosen, axis=-1)


def _counted(logits: mx.array, tokens: mx.array, options: Options) -> mx.array:
    """Frequency and presence penalty: subtract for each occurrence of a token, and once if it occurs at all."""
    import mlx.core as mx

    if options.frequency_penalty:
        logits = logits.at[:, tokens].subtract(mx.array(options.frequency_penalty, dtype=logits.dtype))
    if options.presence_penalty:
        there = mx.zeros_like(logits)
        there[:, tokens] = options.presence_penalty
        logits = logits - there
    return logits
