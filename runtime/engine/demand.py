"""How much memory rows take in layer caches, now and before they end. How much there is, and who waits: `schedule`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlxbuild.runtime.engine.footprint import Footprint
from mlxbuild.runtime.engine.row import Row

EXPECTED_ANSWER_TOKENS = 1024
"""What is reserved for an answer that may be longer. If it grows beyond, and memory is short, an answer has to wait."""


class Demand:
    """Of the rows of one model. For the engine's thread, which measures models when they are first asked about."""

    def __init__(self, model: Any, draft: Any = None) -> None:
        self._model = model
        self._draft = draft
        self._footprint: Footprint | None = None
        self._draft_footprint: Footprint | None = None

    @property
    def footprint(self) -> Footprint:
        """Of a row that asks for nothing special."""
        self._footprint = self._footprint or Footprint.of(self._model)
        return self._footprint

    def tokens_in(self, size_bytes: int, row: Row) -> int | None:
        """How many tokens a row may come to in that much memory; None where any number does."""
        return self._footprint_of(row).tokens_in(size_bytes)

    def expected_bytes(self, rows: Sequence[Row]) -> int:
        """What rows will take, as far as can be foreseen. May be asked from any thread."""
        return 0 if self._footprint is None else self._bytes(rows, _expected_tokens)

    def taken_bytes(self, rows: Sequence[Row]) -> int:
        """What rows take now."""
        return self._bytes(rows, lambda row: len(row.tokens))

    def draft_bytes(self, row: Row) -> int:
        """What the draft's layer caches will take, if it drafts for a row."""
        return self._draft_bytes(_expected_tokens(row))

    def _bytes(self, rows: Sequence[Row], tokens: Callable[[Row], int]) -> int:
        """Rows of a batch are as long as its longest; each of the others is by itself."""
        together = [tokens(row) for row in rows if not row.kind]
        alone = [(row, tokens(row)) for row in rows if row.kind]
        drafts = sum(self._draft_bytes(count) for row, count in alone if row.is_drafted)
        own = sum(self._footprint_of(row).bytes_for(count) for row, count in alone)
        return len(together) * self.footprint.bytes_for(max(together, default=0)) + own + drafts

    def _footprint_of(self, row: Row) -> Footprint:
        bits = row.prepared.options.kv_bits
        return self.footprint.in_bits(bits) if bits else self.footprint

    def _draft_bytes(self, tokens: int) -> int:
        self._draft_footprint = self._draft_footprint or Footprint.of(self._draft)
        return self._draft_footprint.bytes_for(tokens)


def expected_answer_tokens(row: Row) -> int:
    """How long an answer is taken to become."""
    return EXPECTED_ANSWER_TOKENS if row.writer.limit is None else min(row.writer.limit, EXPECTED_ANSWER_TOKENS)


def _expected_tokens(row: Row) -> int:
    return max(len(row.prepared.tokens) + expected_answer_tokens(row), len(row.tokens) + 1)
