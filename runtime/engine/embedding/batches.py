"""Computes the vectors of all texts of a request, in batches of similar length, between iterations of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.embedding.vectors import Embedding, Vector
from mlxbuild.runtime.model.facts import EmbeddingFacts

TOKENS_AT_ONCE = 8192
"""How many tokens an encoder computes at once, padding included; a longer text is computed alone."""
TOKENS_BETWEEN_STEPS = 1024
"""How many tokens a decoder computes at once while running answers wait; longer texts are computed in chunks."""


def vectors_of(
    engine: Engine,
    model: Any,
    rows: Sequence[Sequence[int]],
    facts: EmbeddingFacts,
    *,
    normalizes: bool,
    dimensions: int | None,
    is_wanted: Callable[[], bool],
) -> tuple[Vector, ...]:
    """One vector for each row of tokens, in the same order. Rows must not be empty.

    Raises:
        CancelledError: `is_wanted`, which is called before each chunk, returned false.
        NotEmbedding, EmbeddingNotFinite, EngineEnded: as `Embedding` and `Engine.run`.
    """
    tokens_at_once = TOKENS_AT_ONCE if facts.is_encoder else TOKENS_BETWEEN_STEPS
    vectors: dict[int, Vector] = {}
    for batch in in_batches(rows, tokens_at_once):
        embedding = Embedding(
            model,
            [rows[place] for place in batch],
            facts,
            normalizes=normalizes,
            dimensions=dimensions,
            tokens_at_once=tokens_at_once,
            checkpoint=engine.checkpoint,
        )
        made = None
        while made is None:
            if not is_wanted():
                raise CancelledError
            made = engine.run(embedding.advance).result()
        vectors.update(zip(batch, made, strict=True))
    return tuple(vectors[place] for place in range(len(rows)))


def in_batches(rows: Sequence[Sequence[int]], tokens_at_once: int) -> Iterator[list[int]]:
    """Indices of rows to compute together: none is less than half as long as another, which limits the padding."""
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
