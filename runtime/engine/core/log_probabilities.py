"""Log-probabilities of a step's tokens, for sequences that asked for them. They are computed before tokens are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from mlxbuild.runtime.engine.core.output_processor import Scores
from mlxbuild.runtime.engine.core.sequence import SequenceState

if TYPE_CHECKING:
    import mlx.core as mx


class LazyLogProbabilities:
    """Log-probabilities that are computed with the step and read with its tokens."""

    def __init__(self, places: dict[int, int], wanted: list[int], chosen: mx.array, best: tuple[mx.array, ...]) -> None:
        self._places = places
        """Maps the index of a sequence in the batch to its row in the arrays."""
        self._wanted = wanted
        self._chosen = chosen
        self._best = best

    @staticmethod
    def of(sequences: Sequence[SequenceState], logits: mx.array, chosen: mx.array) -> LazyLogProbabilities | None:
        """Log-probabilities of the sampled tokens; None where no sequence asked for them."""
        import mlx.core as mx

        asking = [place for place, sequence in enumerate(sequences) if sequence.prepared.options.logprobs]
        if not asking:
            return None
        if len(asking) < len(sequences):
            logits, chosen = logits[mx.array(asking)], chosen[mx.array(asking)]
        logprobs = (logits - mx.logsumexp(logits, axis=-1, keepdims=True)).astype(mx.float32)
        wanted = [sequences[place].prepared.options.top_logprobs for place in asking]
        best: tuple[mx.array, ...] = ()
        if count := min(max(wanted), logprobs.shape[-1]):
            order = mx.argpartition(-logprobs, kth=count - 1, axis=-1)[:, :count]
            values = mx.take_along_axis(logprobs, order, axis=-1)
            falling = mx.argsort(-values, axis=-1)
            best = (mx.take_along_axis(order, falling, axis=-1), mx.take_along_axis(values, falling, axis=-1))
        its = mx.take_along_axis(logprobs, chosen[:, None], axis=-1)[:, 0]
        return LazyLogProbabilities({place: number for number, place in enumerate(asking)}, wanted, its, best)

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        """The arrays to evaluate together with the step."""
        return (self._chosen, *self._best)

    def read(self) -> dict[int, Scores]:
        """The scores, by index of the sequence in the batch."""
        logprobs = cast("list[float]", self._chosen.tolist())
        ids, values = ([], []) if not self._best else [cast("list[list[Any]]", array.tolist()) for array in self._best]
        found = {}
        for place, number in self._places.items():
            count = self._wanted[number]
            best = zip(ids[number][:count], values[number][:count], strict=True) if count else ()
            # tokens that a grammar excludes have probability zero, whose logarithm JSON cannot express
            found[place] = Scores(logprobs[number], tuple(each for each in best if math.isfinite(each[1])))
        return found

    def filtered(self, places: Sequence[int]) -> LazyLogProbabilities:
        """The log-probabilities of the remaining sequences; `places` are their old indices."""
        stay = {new: self._places[old] for new, old in enumerate(places) if old in self._places}
        return LazyLogProbabilities(stay, self._wanted, self._chosen, self._best)
