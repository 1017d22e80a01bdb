"""All texts of a request become vectors: batches of like length, between the iterations of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.embedding.vectors import Embedding, Vector
from mlxbuild.runtime.model.facts import EmbeddingFacts

TOKENS_AT_ONCE = 8192
"""What an encoder reads at once, padding included; a single longer text goes alone."""
TOKENS_BETWEEN_TICKS = 1024
"""What a decoder reads at once: running answers wait so long, and longer texts are read in parts."""


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
    """One vector for each row of tokens, in their order. Rows must not be empty.

    Raises:
        CancelledError: `is_wanted`, which is asked now and then, said no.
        NotEmbedding, EmbeddingNotFinite, EngineEnded: as `Embedding` and `Engine.run`.
    """
    tokens_at_once = TOKENS_AT_ONCE if facts.is_encoder else TOKENS_BETWEEN_TICKS
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
