"""From tokens to vectors: batches of like length, pooling, and the norm. Where tokens come from: `embedding_inputs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from registry.errors import StepError, UserError
from runtime.model.facts import EmbeddingFacts
from runtime.model.mlx_lm_package import submodule

if TYPE_CHECKING:
    import mlx.core as mx

TOKENS_AT_ONCE = 8192
"""Padding included; a single longer text goes alone."""
TOKENS_BETWEEN_TICKS = 1024
"""The same for a model that also writes: its running answers wait so long."""
Vector = tuple[float, ...]


class NotEmbedding(UserError):
    """The model's architecture does not show the states that vectors are made of."""

    code = "not-embedding"


class EmbeddingNotFinite(StepError):
    """The model made no numbers of a text."""

    code = "embedding-not-finite"


def in_batches(rows: Sequence[Sequence[int]], tokens_at_once: int = TOKENS_AT_ONCE) -> Iterator[list[int]]:
    """Places of rows that are computed together: none is less than half as long as another, or padding would rule."""
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(rows)), key=lambda place: -len(rows[place])):
        if batch and (2 * len(rows[place]) < longest or (len(batch) + 1) * longest > tokens_at_once):
            yield batch
            batch = []
        longest = longest if batch else len(rows[place])
        batch.append(place)
    if batch:
        yield batch


def embed(
    model: Any,
    rows: Sequence[Sequence[int]],
    facts: EmbeddingFacts,
    *,
    normalizes: bool = True,
    dimensions: int | None = None,
) -> list[Vector]:
    """One vector for each row of tokens, all computed at once. Rows must not be empty.

    `dimensions` keeps the first numbers of each, before the norm.

    Raises:
        NotEmbedding: the architecture has no states to take, or fewer dimensions than asked for.
        EmbeddingNotFinite: a vector holds NaN or infinity.
    """
    import mlx.core as mx

    longest = max(map(len, rows))
    lengths = mx.array([len(row) for row in rows])
    tokens = mx.array([[*row, *[0] * (longest - len(row))] for row in rows])
    real = mx.arange(longest)[None] < lengths[:, None]
    hidden = _states(model, facts)(tokens, real).astype(mx.float32)
    if facts.pooling == "mean":
        pooled = mx.where(real[..., None], hidden, 0).sum(axis=1) / lengths[:, None]
    else:
        places = mx.zeros_like(lengths) if facts.pooling == "cls" else lengths - 1
        pooled = mx.take_along_axis(hidden, places[:, None, None], axis=1)[:, 0]
    if dimensions is not None:
        if dimensions > pooled.shape[-1]:
            raise NotEmbedding(
                f"the model's vectors have {pooled.shape[-1]} dimensions, and {dimensions} are asked for"
            )
        pooled = pooled[:, :dimensions]
    if normalizes or facts.normalizes:
        pooled = pooled / mx.maximum(mx.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
    if not mx.isfinite(pooled).all().item():
        raise EmbeddingNotFinite("the model made a vector with NaN or infinity", hint="are its weights sound?")
    vectors: Any = pooled.tolist()
    return [tuple(vector) for vector in vectors]


def _states(model: Any, facts: EmbeddingFacts) -> Callable[[mx.array, mx.array], mx.array]:
    """Tokens and what is no padding, to the states of the last layer."""
    if facts.is_encoder:
        encoder: Callable[[mx.array, mx.array], mx.array] = model
        return encoder
    decoder = getattr(model, "language_model", model)
    body = next((part for name in ("model", "transformer", "backbone") if (part := getattr(decoder, name, None))), None)
    if body is None:
        raise NotEmbedding("the model's architecture does not show its last states")
    fresh = submodule("models.cache").make_prompt_cache  # some architectures cannot do without
    return lambda tokens, _: body(tokens, cache=fresh(model))  # padding comes last, and a decoder never looks ahead
