"""From log-probabilities to the next token. Its filters are mlx-lm's; its randomness is its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.engine.options import Options
from runtime.model.mlx_lm_package import submodule

if TYPE_CHECKING:
    import mlx.core as mx


class Sampler:
    """Chooses one token at a time for one answer. Two of one seed choose alike, whatever else runs beside them."""

    def __init__(self, options: Options, prompt: Sequence[int]) -> None:
        import mlx.core as mx

        self._options = options
        self._penalizes = options.repeat_penalty != 1.0 and options.repeat_last_n != 0
        self._past = mx.array(list(prompt) if self._penalizes else [])
        seed = secrets.randbits(63) if options.seed is None else options.seed
        self._key = mx.random.key(seed)

    def __call__(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        """The next token (shape [1]) and the log-probabilities it was chosen by, before filters (shape [1, V]).

        `logits` has shape [1, V]. Nothing is evaluated here.
        """
        import mlx.core as mx

        options = self._options
        if self._penalizes:
            logits = _discouraged(logits, self._past, options.repeat_penalty, options.repeat_last_n)
        logprobs = logits - mx.logsumexp(logits, keepdims=True)
        if options.temperature == 0:
            token = mx.argmax(logprobs, axis=-1)
        else:
            self._key, key = mx.random.split(self._key)
            token = mx.random.categorical(self._filtered(logprobs) * (1 / options.temperature), key=key)
        if self._penalizes:
            self._past = mx.concatenate([self._past, token])
        return token, logprobs

    def _filtered(self, logprobs: mx.array) -> mx.array:
        options, filters = self._options, submodule("sample_utils")
        if options.top_p < 1:
            logprobs = filters.apply_top_p(logprobs, options.top_p)
        if options.min_p > 0:
            logprobs = filters.apply_min_p(logprobs, options.min_p)
        if 0 < options.top_k < logprobs.shape[-1]:
            logprobs = filters.apply_top_k(logprobs, options.top_k)
        return logprobs


def _discouraged(logits: mx.array, past: mx.array, penalty: float, last: int) -> mx.array:
    """Divide positive and multiply negative logits of tokens that were there (arXiv:1909.05858)."""
    import mlx.core as mx

    tokens = past[None] if last < 0 else past[None, -last:]
    chosen = mx.take_along_axis(logits, tokens, axis=-1)
    chosen = mx.where(chosen < 0, chosen * penalty, chosen / penalty)
    return mx.put_along_axis(logits, tokens, chosen, axis=-1)
