"""How much memory the KV caches of sequences take, now and until they finish. Who has to wait: `scheduler`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache_size import KVCacheSize
from mlxbuild.runtime.engine.core.sequence import SequenceState

EXPECTED_ANSWER_TOKENS = 1024
"""How many tokens are reserved for a longer answer. If it exceeds them and memory is short, a sequence is preempted."""


class KVBudget:
    """Memory that the KV caches of sequences take. Only for the engine's thread; models are measured at the first
    request.
    """

    def __init__(self, model: Any, draft: Any = None) -> None:
        self._model = model
        self._draft = draft
        self._kv_cache_size: KVCacheSize | None = None
        self._draft_kv_cache_size: KVCacheSize | None = None

    @property
    def kv_cache_size(self) -> KVCacheSize:
        """KV cache size of a sequence without quantization."""
        self._kv_cache_size = self._kv_cache_size or KVCacheSize.of(self._model)
        return self._kv_cache_size

    def tokens_in(self, size_bytes: int, sequence: SequenceState) -> int | None:
        """How many tokens of a sequence fit in that much memory; None if any number does."""
        return self._kv_cache_size_of(sequence).tokens_in(size_bytes)

    def expected_bytes(self, sequences: Sequence[SequenceState]) -> int:
        """Predicted memory of the sequences when they finish. Thread-safe."""
        return 0 if self._kv_cache_size is None else self._bytes(sequences, _expected_tokens)

    def taken_bytes(self, sequences: Sequence[SequenceState]) -> int:
        """Memory that the sequences take now."""
        return self._bytes(sequences, lambda sequence: len(sequence.tokens))

    def draft_bytes(self, sequence: SequenceState) -> int:
        """Predicted memory of the draft model's KV cache for a sequence."""
        return self._draft_bytes(_expected_tokens(sequence))

    def _bytes(self, sequences: Sequence[SequenceState], tokens: Callable[[SequenceState], int]) -> int:
        """Sum over all sequences: those in a batch count with the length of its longest one, others with their own."""
        together = [tokens(sequence) for sequence in sequences if not sequence.kind]
        alone = [(sequence, tokens(sequence)) for sequence in sequences if sequence.kind]
        drafts = sum(self._draft_bytes(count) for sequence, count in alone if sequence.is_drafted)
        own = sum(self._kv_cache_size_of(sequence).bytes_for(count) for sequence, count in alone)
        return len(together) * self.kv_cache_size.bytes_for(max(together, default=0)) + own + drafts

    def _kv_cache_size_of(self, sequence: SequenceState) -> KVCacheSize:
        bits = sequence.prepared.options.kv_bits
        return self.kv_cache_size.in_bits(bits) if bits else self.kv_cache_size

    def _draft_bytes(self, tokens: int) -> int:
        self._draft_kv_cache_size = self._draft_kv_cache_size or KVCacheSize.of(self._draft)
        return self._draft_kv_cache_size.bytes_for(tokens)


def expected_answer_tokens(sequence: SequenceState) -> int:
    """How many tokens are reserved for an answer."""
    return (
        EXPECTED_ANSWER_TOKENS if sequence.writer.limit is None else min(sequence.writer.limit, EXPECTED_ANSWER_TOKENS)
    )


def _expected_tokens(sequence: SequenceState) -> int:
    return max(len(sequence.prepared.tokens) + expected_answer_tokens(sequence), len(sequence.tokens) + 1)
