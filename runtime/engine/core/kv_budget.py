"""How much memory the KV caches of sequences take, now and before they finish. Who has to wait: `scheduler`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache_size import KVCacheSize
from mlxbuild.runtime.engine.core.sequence import SequenceState

EXPECTED_ANSWER_TOKENS = 1024
"""What is reserved for an answer that may be longer. If it grows beyond, and memory is short, an answer has to wait."""


class KVBudget:
    """Of the rows of one model. For the engine's thread, which measures models when they are first asked about."""

    def __init__(self, model: Any, draft: Any = None) -> None:
        self._model = model
        self._draft = draft
        self._kv_cache_size: KVCacheSize | None = None
        self._draft_kv_cache_size: KVCacheSize | None = None

    @property
    def kv_cache_size(self) -> KVCacheSize:
        """Of a row that asks for nothing special."""
        self._kv_cache_size = self._kv_cache_size or KVCacheSize.of(self._model)
        return self._kv_cache_size

    def tokens_in(self, size_bytes: int, row: SequenceState) -> int | None:
        """How many tokens a row may come to in that much memory; None where any number does."""
        return self._kv_cache_size_of(row).tokens_in(size_bytes)

    def expected_bytes(self, rows: Sequence[SequenceState]) -> int:
        """What rows will take, as far as can be foreseen. May be asked from any thread."""
        return 0 if self._kv_cache_size is None else self._bytes(rows, _expected_tokens)

    def taken_bytes(self, rows: Sequence[SequenceState]) -> int:
        """What rows take now."""
        return self._bytes(rows, lambda row: len(row.tokens))

    def draft_bytes(self, row: SequenceState) -> int:
        """What the draft's KV caches will take, if it drafts for a row."""
        return self._draft_bytes(_expected_tokens(row))

    def _bytes(self, rows: Sequence[SequenceState], tokens: Callable[[SequenceState], int]) -> int:
        """Rows of a batch are as long as its longest; each of the others is by itself."""
        together = [tokens(row) for row in rows if not row.kind]
        alone = [(row, tokens(row)) for row in rows if row.kind]
        drafts = sum(self._draft_bytes(count) for row, count in alone if row.is_drafted)
        own = sum(self._kv_cache_size_of(row).bytes_for(count) for row, count in alone)
        return len(together) * self.kv_cache_size.bytes_for(max(together, default=0)) + own + drafts

    def _kv_cache_size_of(self, row: SequenceState) -> KVCacheSize:
        bits = row.prepared.options.kv_bits
        return self.kv_cache_size.in_bits(bits) if bits else self.kv_cache_size

    def _draft_bytes(self, tokens: int) -> int:
        self._draft_kv_cache_size = self._draft_kv_cache_size or KVCacheSize.of(self._draft)
        return self._draft_kv_cache_size.bytes_for(tokens)


def expected_answer_tokens(row: SequenceState) -> int:
    """How long an answer is taken to become."""
    return EXPECTED_ANSWER_TOKENS if row.writer.limit is None else min(row.writer.limit, EXPECTED_ANSWER_TOKENS)


def _expected_tokens(row: SequenceState) -> int:
    return max(len(row.prepared.tokens) + expected_answer_tokens(row), len(row.tokens) + 1)
