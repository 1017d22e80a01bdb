"""From tokens to vectors: hidden states, pooling, normalization. What is computed together: `batches`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlxbuild.registry.core.errors import StepError, UserError
from mlxbuild.runtime.engine.core.kv_cache import KVCache, compute, fresh
from mlxbuild.runtime.model.facts import EmbeddingFacts

if TYPE_CHECKING:
    import mlx.core as mx

Vector = tuple[float, ...]


class NotEmbedding(UserError):
    """The model's architecture does not give access to the hidden states that vectors are made of."""

    code = "not-embedding"


class EmbeddingNotFinite(StepError):
    """The model computed a vector with NaN or infinity."""

    code = "embedding-not-finite"


class Embedding:
    """The embedding of some rows of tokens, computed in chunks, so that memory does not grow with their length.

    An encoder computes each text as a whole, in one chunk; a decoder computes it as in chunked prefill. Only for the
    engine's thread, which may run iterations between two chunks.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[Sequence[int]],
        facts: EmbeddingFacts,
        *,
        normalizes: bool,
        dimensions: int | None,
        tokens_at_once: int,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Rows must not be empty. `dimensions` keeps the first numbers of each vector, before normalization.
        `checkpoint` is called before each layer of a decoder, and may raise.

        Raises:
            NotEmbedding: the architecture does not give access to hidden states.
        """
        self._rows = rows
        self._facts = facts
        self._normalizes = normalizes or facts.normalizes
        self._dimensions = dimensions
        self._longest = max(map(len, rows))
        self._chunk_tokens = self._longest if facts.is_encoder else max(1, tokens_at_once // len(rows))
        self._checkpoint = checkpoint
        self._model = model
        self._body = None if facts.is_encoder else _body(model)
        self._cache: KVCache | None = None
        self._read_tokens = 0
        self._pooled: mx.array | None = None
        """Sums of hidden states, or the selected state, over the chunks so far; shape [B, H]."""

    def advance(self) -> list[Vector] | None:
        """Compute the next chunk; returns the vectors after the last one.

        Raises:
            NotEmbedding: the model has fewer dimensions than asked for.
            EmbeddingNotFinite: a vector holds NaN or infinity.
        """
        import mlx.core as mx

        begin, end = self._read_tokens, min(self._read_tokens + self._chunk_tokens, self._longest)
        lengths = mx.array([len(row) for row in self._rows])
        places = mx.arange(begin, end)[None]
        hidden = self._states([row[begin:end] for row in self._rows], end - begin)
        if self._facts.pooling == "mean":
            counted = places < lengths[:, None]
        else:
            counted = places == (mx.zeros_like(lengths) if self._facts.pooling == "cls" else lengths - 1)[:, None]
        chunk = mx.where(counted[..., None], hidden.astype(mx.float32), 0).sum(axis=1)
        self._pooled = chunk if self._pooled is None else self._pooled + chunk
        compute(self._cache or [], self._checkpoint)
        mx.eval(self._pooled)
        self._read_tokens = end
        if end < self._longest:
            return None
        pooled = self._pooled / lengths[:, None] if self._facts.pooling == "mean" else self._pooled
        self._cache = self._pooled = None
        return self._vectors(pooled)

    def _states(self, rows: list[Sequence[int]], width: int) -> mx.array:
        """Hidden states of the last layer for the next tokens, padding included."""
        import mlx.core as mx

        tokens = mx.array([[*row, *[0] * (width - len(row))] for row in rows])
        if self._body is None:
            real = mx.arange(width)[None] < mx.array([len(row) for row in rows])[:, None]
            states: mx.array = self._model(tokens, real)
        else:  # padding comes last, and a decoder is causal; some architectures need a cache
            self._cache = self._cache or fresh(self._model)
            states = self._body(tokens, cache=self._cache)
        return states

    def _vectors(self, pooled: mx.array) -> list[Vector]:
        import mlx.core as mx

        if self._dimensions is not None:
            if self._dimensions > pooled.shape[-1]:
                raise NotEmbedding(
                    f"the model's vectors have {pooled.shape[-1]} dimensions, and {self._dimensions} are asked for"
                )
            pooled = pooled[:, : self._dimensions]
        if self._normalizes:
            pooled = pooled / mx.maximum(mx.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
        if not mx.isfinite(pooled).all().item():
            raise EmbeddingNotFinite("the model made a vector with NaN or infinity", hint="are its weights sound?")
        vectors: Any = pooled.tolist()
        return [tuple(vector) for vector in vectors]


def _body(model: Any) -> Callable[..., mx.array]:
    decoder = getattr(model, "language_model", model)
    parts = (getattr(decoder, name, None) for name in ("model", "transformer", "backbone"))
    body: Callable[..., mx.array] | None = next((part for part in parts if part is not None), None)
    if body is None:
        raise NotEmbedding("the model's architecture does not show its last states")
    return body
