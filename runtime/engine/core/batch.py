"""The decode batch: sequences that take each step together, in one forward pass. Prompts are computed in `prefill`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mlxbuild.runtime.engine.core.decode_step import DecodeStep
from mlxbuild.runtime.engine.core.kv_cache import KVCache, extracted, filtered, grow_by, merged
from mlxbuild.runtime.engine.core.log_probabilities import LazyLogProbabilities
from mlxbuild.runtime.engine.core.output_processor import Scores
from mlxbuild.runtime.engine.core.sampling import sample
from mlxbuild.runtime.engine.core.sequence import SequenceState

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A token that was sampled for a sequence."""

    sequence: SequenceState
    token: int
    scores: Scores | None


class Batch:
    """Sequences with their KV cache. While the tokens of one step are read, the next step is already being computed.

    A single sequence keeps its KV cache as it is; several sequences share one in which the shorter ones are padded.
    """

    def __init__(self, step: DecodeStep) -> None:
        self._step = step
        self.sequences: list[SequenceState] = []
        self._cache: KVCache = []
        self._is_merged = False
        self._inputs: mx.array | None = None
        """The last token of each sequence, which is the input of the next step (shape [B])."""
        self._scores: LazyLogProbabilities | None = None
        """Log-probabilities of those tokens. Sequences that have joined since then have none; they are last in the
        batch.
        """

    def join(
        self, sequences: Sequence[SequenceState], cache: KVCache, *, is_merged: bool, expected_tokens: int = 0
    ) -> None:
        """Add sequences whose KV cache holds the whole prompt but its last token. The batch takes ownership of the
        cache.

        The KV cache of several sequences is enlarged for `expected_tokens` at once, as each growth stalls all of them.
        """
        import mlx.core as mx

        last = mx.array([sequence.tokens[-1] for sequence in sequences], dtype=mx.uint32)
        if self.sequences:
            mine = self._cache if self._is_merged else merged([self._cache])
            theirs = cache if is_merged else merged([cache])
            for one, other in zip(mine, theirs, strict=True):
                one.extend(other)
            cache, is_merged = mine, True
            last = mx.concatenate([cast("mx.array", self._inputs), last])
        if is_merged:
            grow_by(cache, expected_tokens)
        self._cache, self._is_merged, self._inputs = cache, is_merged, last
        self.sequences += sequences

    def wait(self) -> None:
        """Wait until the step in progress is computed."""
        import mlx.core as mx

        if self._inputs is not None:
            mx.eval(self._inputs)

    def step(self) -> list[SampledToken]:
        """Start the next step and return the tokens of the current one, except for sequences that have just joined."""

        inputs, scores = cast("mx.array", self._inputs), self._scores
        unread = [place for place, sequence in enumerate(self.sequences) if not sequence.is_known]
        if all(sequence.ends_with_next for sequence in self.sequences):
            values = cast("list[int]", inputs.tolist())
        else:
            values = self._start_step(inputs)
        read = {} if scores is None else scores.read()
        sampled = []
        for place in unread:
            sequence = self.sequences[place]
            sequence.tokens.append(values[place])
            sampled.append(SampledToken(sequence, values[place], read.get(place)))
        return sampled

    def _start_step(self, inputs: mx.array) -> list[int]:
        """Start the next step asynchronously; returns the values of `inputs`."""
        import mlx.core as mx

        logits = self._step(inputs, self._cache)
        values: list[int] | None = None
        if any(sequence.prepared.constraint for sequence in self.sequences):
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
            values = cast("list[int]", inputs.tolist())
        logits = self._process_logits(logits, values)
        chosen = sample(logits, [sequence.sampler for sequence in self.sequences])
        for place, sequence in enumerate(self.sequences):
            sequence.cached_tokens += 1
            if sequence.penalties is not None:
                sequence.penalties.take(chosen[place : place + 1])
        self._inputs, self._scores = chosen, LazyLogProbabilities.of(self.sequences, logits, chosen)
        mx.async_eval(chosen, *(() if self._scores is None else self._scores.arrays))  # type: ignore[no-untyped-call]
        return cast("list[int]", inputs.tolist()) if values is None else values

    def _process_logits(self, logits: mx.array, inputs: list[int] | None) -> mx.array:
        """Apply penalties and constraints to the logits of the sequences that have them."""
        import mlx.core as mx

        places, changed_rows = [], []
        for place, sequence in enumerate(self.sequences):
            constraint = sequence.prepared.constraint
            if sequence.penalties is None and constraint is None:
                continue
            row_logits = logits[place : place + 1]
            if sequence.penalties is not None:
                row_logits = sequence.penalties.applied(row_logits)
            if constraint is not None and inputs is not None:
                row_logits = _constrained(sequence, row_logits, inputs[place])
            places.append(place)
            changed_rows.append(row_logits)
        if not places:
            return logits
        if len(places) == len(self.sequences):
            return mx.concatenate(changed_rows)
        logits[mx.array(places)] = mx.concatenate(changed_rows).astype(logits.dtype)
        return logits

    def leave(
        self, leaving: Sequence[SequenceState], *, keeping: Sequence[SequenceState] = ()
    ) -> list[tuple[SequenceState, KVCache]]:
        """Remove sequences; returns the KV caches of those in `keeping` that have any cached tokens."""
        import mlx.core as mx

        gone = {id(sequence) for sequence in leaving}
        kept = []
        for sequence in keeping:
            if not sequence.cached_tokens:
                continue  # mlx-lm cannot extract a sequence from an empty KV cache
            kept.append(
                (sequence, extracted(self._cache, self.sequences.index(sequence)) if self._is_merged else self._cache)
            )
        places = [place for place, sequence in enumerate(self.sequences) if id(sequence) not in gone]
        self.sequences = [self.sequences[place] for place in places]
        if not places:
            self._cache, self._is_merged, self._inputs, self._scores = [], False, None, None
            return kept
        chosen = mx.array(places)
        self._inputs = cast("mx.array", self._inputs)[chosen]
        self._scores = None if self._scores is None else self._scores.filtered(places)
        if len(places) == 1 and self.sequences[0].cached_tokens:
            self._cache, self._is_merged = extracted(self._cache, places[0]), False
        else:
            self._cache = filtered(self._cache, places)
        return kept


def _constrained(sequence: SequenceState, logits: mx.array, last: int) -> mx.array:
    """Mask the logits by the sequence's constraint. If the constraint fails, only this sequence fails."""
    constraint = sequence.prepared.constraint
    if constraint is None or sequence.failure is not None:
        return logits
    try:
        if not sequence.is_known and last not in sequence.prepared.stop_tokens:
            constraint.advance(last)
        return constraint.mask(logits)
    except Exception as error:  # noqa: BLE001 - whatever it is, other sequences go on
        sequence.failure = error
        return logits
