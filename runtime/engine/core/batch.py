"""Sequences that take the next step together: one forward pass gives each a token. Prompts are read by `prefill`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mlxbuild.runtime.engine.core.kv_cache import KVCache, extracted, filtered, grow_by, merged
from mlxbuild.runtime.engine.core.log_probabilities import LazyLogProbabilities
from mlxbuild.runtime.engine.core.output_processor import Scores
from mlxbuild.runtime.engine.core.sampling import sample
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.engine.core.step import Step

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Written:
    """A token that a row got."""

    row: SequenceState
    token: int
    scores: Scores | None


class Batch:
    """Rows with their KV caches. While tokens of one step are read, the next step is under way.

    A single row keeps its caches as they are; several rows share caches in which the shorter ones are padded.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self.rows: list[SequenceState] = []
        self._layers: KVCache = []
        self._is_merged = False
        self._inputs: mx.array | None = None
        """The tokens that go through the model next (shape [B]): of each row the last one."""
        self._scores: LazyLogProbabilities | None = None
        """Of those tokens; rows that have joined since have none, and stand at the end."""

    def join(
        self, rows: Sequence[SequenceState], layers: KVCache, *, is_merged: bool, expected_tokens: int = 0
    ) -> None:
        """Take rows in whose KV caches all of the prompt is but its last token. The caches are the batch's then.

        Caches of several rows make room for `expected_tokens` at once: each growth is a stall for all of them.
        """
        import mlx.core as mx

        last = mx.array([row.tokens[-1] for row in rows], dtype=mx.uint32)
        if self.rows:
            mine = self._layers if self._is_merged else merged([self._layers])
            theirs = layers if is_merged else merged([layers])
            for one, other in zip(mine, theirs, strict=True):
                one.extend(other)
            layers, is_merged = mine, True
            last = mx.concatenate([cast("mx.array", self._inputs), last])
        if is_merged:
            grow_by(layers, expected_tokens)
        self._layers, self._is_merged, self._inputs = layers, is_merged, last
        self.rows += rows

    def wait(self) -> None:
        """Wait until the step that is under way is computed."""
        import mlx.core as mx

        if self._inputs is not None:
            mx.eval(self._inputs)

    def step(self) -> list[Written]:
        """Begin the step after the next and read the next: a token for each row that has not just joined."""

        inputs, scores = cast("mx.array", self._inputs), self._scores
        reading = [place for place, row in enumerate(self.rows) if not row.is_known]
        if all(row.ends_with_next for row in self.rows):
            values = cast("list[int]", inputs.tolist())
        else:
            values = self._begin(inputs)
        read = {} if scores is None else scores.read()
        written = []
        for place in reading:
            row = self.rows[place]
            row.tokens.append(values[place])
            written.append(Written(row, values[place], read.get(place)))
        return written

    def _begin(self, inputs: mx.array) -> list[int]:
        """Put the next step under way; returns what `inputs` are."""
        import mlx.core as mx

        logits = self._step(inputs, self._layers)
        values: list[int] | None = None
        if any(row.prepared.constraint for row in self.rows):
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
            values = cast("list[int]", inputs.tolist())
        logits = self._changed(logits, values)
        chosen = sample(logits, [row.sampler for row in self.rows])
        for place, row in enumerate(self.rows):
            row.cached_tokens += 1
            if row.penalties is not None:
                row.penalties.take(chosen[place : place + 1])
        self._inputs, self._scores = chosen, LazyLogProbabilities.of(self.rows, logits, chosen)
        mx.async_eval(chosen, *(() if self._scores is None else self._scores.arrays))  # type: ignore[no-untyped-call]
        return cast("list[int]", inputs.tolist()) if values is None else values

    def _changed(self, logits: mx.array, inputs: list[int] | None) -> mx.array:
        """Logits with those rows changed that have penalties or a constraint."""
        import mlx.core as mx

        places, parts = [], []
        for place, row in enumerate(self.rows):
            constraint = row.prepared.constraint
            if row.penalties is None and constraint is None:
                continue
            part = logits[place : place + 1]
            if row.penalties is not None:
                part = row.penalties.applied(part)
            if constraint is not None and inputs is not None:
                part = _constrained(row, part, inputs[place])
            places.append(place)
            parts.append(part)
        if not places:
            return logits
        if len(places) == len(self.rows):
            return mx.concatenate(parts)
        logits[mx.array(places)] = mx.concatenate(parts).astype(logits.dtype)
        return logits

    def leave(
        self, leaving: Sequence[SequenceState], *, keeping: Sequence[SequenceState] = ()
    ) -> list[tuple[SequenceState, KVCache]]:
        """Let rows go; returns the KV caches of those in `keeping` of which something has gone through the model."""
        import mlx.core as mx

        gone = {id(row) for row in leaving}
        kept = []
        for row in keeping:
            if not row.cached_tokens:
                continue  # mlx-lm cannot take a row out of KV caches that are empty
            kept.append((row, extracted(self._layers, self.rows.index(row)) if self._is_merged else self._layers))
        places = [place for place, row in enumerate(self.rows) if id(row) not in gone]
        self.rows = [self.rows[place] for place in places]
        if not places:
            self._layers, self._is_merged, self._inputs, self._scores = [], False, None, None
            return kept
        chosen = mx.array(places)
        self._inputs = cast("mx.array", self._inputs)[chosen]
        self._scores = None if self._scores is None else self._scores.of_rows(places)
        if len(places) == 1 and self.rows[0].cached_tokens:
            self._layers, self._is_merged = extracted(self._layers, places[0]), False
        else:
            self._layers = filtered(self._layers, places)
        return kept


def _constrained(row: SequenceState, logits: mx.array, last: int) -> mx.array:
    """What the row's constraint leaves after its last token. If the constraint fails, it is the row's failure alone."""
    constraint = row.prepared.constraint
    if constraint is None or row.failure is not None:
        return logits
    try:
        if not row.is_known and last not in row.prepared.stop_tokens:
            constraint.advance(last)
        return constraint.mask(logits)
    except Exception as error:  # noqa: BLE001 - whatever it is, other rows go on
        row.failure = error
        return logits
