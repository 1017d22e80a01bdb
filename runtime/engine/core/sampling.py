"""Samples the next token of every sequence of a batch. Logits are processed before by `logits_processors`,
`constraint`.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxbuild.runtime.engine.core.options import Options

if TYPE_CHECKING:
    import mlx.core as mx


_LEAST_TEMPERATURE = 1e-5
"""Below it, only one token has any probability, and logits would exceed the range of floats."""


@dataclass(frozen=True, slots=True)
class SamplingFilter:
    """Temperature and filters. Rows with the same filter are sampled together."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float


class Sampler:
    """Samples the tokens of one answer. The same seed gives the same tokens, whatever else is in the batch."""

    def __init__(self, options: Options) -> None:
        greedy = options.temperature < _LEAST_TEMPERATURE
        self.filter = (
            None if greedy else SamplingFilter(options.temperature, options.top_p, options.top_k, options.min_p)
        )
        """None for greedy sampling."""
        self._seed = (secrets.randbits(64) if options.seed is None else options.seed).to_bytes(8, "big")
        self._drawn = 0

    def go_to(self, place: int) -> None:
        """Continue at that position of the answer."""
        self._drawn = place

    def next_key(self) -> tuple[int, int]:
        """The random key for the next token; it depends only on the seed and the token's position in the answer."""
        place = self._drawn.to_bytes(8, "big")
        self._drawn += 1
        digest = hashlib.blake2b(self._seed + place, digest_size=8).digest()
        return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")


def sample(logits: mx.array, samplers: Sequence[Sampler]) -> mx.array:
    """Sample one token for each row of `logits` (shape [B, V]); returns shape [B]. Nothing is evaluated."""
    import mlx.core as mx

    groups: dict[SamplingFilter | None, list[int]] = {}
    for row, sampler in enumerate(samplers):
        groups.setdefault(sampler.filter, []).append(row)
    chosen: list[mx.array] = []
    for kind, rows in groups.items():
        group_logits = logits if len(groups) == 1 else logits[mx.array(rows)]
        if kind is None:
            chosen.append(mx.argmax(group_logits, axis=-1))
        else:
            keys = mx.array([samplers[row].next_key() for row in rows], dtype=mx.uint32)
            chosen.append(_drawn(group_logits, kind, keys))
    if len(chosen) == 1:
        return chosen[0]
    places = sorted(range(len(samplers)), key=[row for rows in groups.values() for row in rows].__getitem__)
    return mx.concatenate(chosen)[mx.array(places)]


def _drawn(logits: mx.array, kind: SamplingFilter, keys: mx.array) -> mx.array:
    """Sample by the Gumbel-max trick; the noise of a row depends on its own key only."""
    import mlx.core as mx

    size = logits.shape[-1]
    noise = mx.vmap(lambda key: mx.random.gumbel((size,), key=key))(keys)
    return mx.argmax(_filtered(logits.astype(mx.float32), kind) * (1 / kind.temperature) + noise, axis=-1)


def _filtered(logits: mx.array, kind: SamplingFilter) -> mx.array:
    """Logits without the filtered tokens. Filters apply to the probabilities before temperature.

    Each filter keeps the most likely tokens, so together they amount to one threshold.
    """
    import mlx.core as mx

    bounds: list[mx.array] = []
    size = logits.shape[-1]
    narrows = 0 < kind.top_k < size
    if narrows or kind.top_p < 1:
        highest = mx.topk(logits, kind.top_k, axis=-1) if narrows else logits
        falling = -mx.sort(-highest, axis=-1)
        last = mx.array([falling.shape[-1] - 1])
        if kind.top_p < 1:
            shares = mx.exp(falling - mx.logsumexp(logits, axis=-1, keepdims=True))
            before = mx.cumsum(shares, axis=-1, inclusive=False)
            last = mx.sum(before < kind.top_p, axis=-1, keepdims=True) - 1
        bounds.append(mx.take_along_axis(falling, mx.broadcast_to(last, (len(logits), 1)), axis=-1))
    if kind.min_p > 0:
        bounds.append(mx.max(logits, axis=-1, keepdims=True) + math.log(kind.min_p))
    for bound in bounds:
        logits = mx.where(logits < bound, -math.inf, logits)
    return logits
