"""Speculative decoding: a draft model proposes tokens, and the model checks them all in one forward pass.

The answer is the one that the large model gives by itself: each of its tokens is chosen from its own logits, with the
randomness of its place. A draft that chooses alike, by the same randomness, only makes it known earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mlxbuild.runtime.engine.core.batch import Written
from mlxbuild.runtime.engine.core.kv_cache import KVCache, always_rewinds, fresh, rewind
from mlxbuild.runtime.engine.core.log_probabilities import LazyLogProbabilities
from mlxbuild.runtime.engine.core.sampling import sample
from mlxbuild.runtime.engine.core.sequence import SequenceState

if TYPE_CHECKING:
    import mlx.core as mx


class ModelPair:
    """A model and its draft, as one that reads prompts into the KV caches of both."""

    def __init__(self, model: Any, draft: Any) -> None:
        self.model = model
        self.draft = draft
        self.layers = [*model.layers, *draft.layers]

    @cached_property
    def _count(self) -> int:
        """How many KV caches are the model's own."""
        return len(fresh(self.model))

    def make_cache(self) -> KVCache:
        """As mlx-lm asks for it: the model's KV caches, then the draft's."""
        return [*fresh(self.model), *fresh(self.draft)]

    def parted(self, layers: KVCache) -> tuple[KVCache, KVCache]:
        """Those of the model, and those of the draft."""
        return layers[: self._count], layers[self._count :]

    def __call__(self, tokens: mx.array, cache: KVCache) -> None:
        """Read tokens; nobody asks for logits of a prompt."""
        own, drafts = self.parted(cache)
        self.model(tokens, cache=own)
        self.propose(tokens, drafts)

    def propose(self, tokens: mx.array, cache: KVCache) -> mx.array:
        """The draft's logits after tokens. Of the same tokens, models may have more or fewer unused rows."""
        import mlx.core as mx

        logits: mx.array = self.draft(mx.minimum(tokens, self._last_token), cache=cache)
        return logits

    @cached_property
    def _last_token(self) -> int:
        """That the draft has a row for; nothing is computed to know it."""
        import mlx.core as mx

        return int(self.draft(mx.array([[0]]), cache=fresh(self.draft)).shape[-1]) - 1

    @property
    def can_speculate(self) -> bool:
        """Whether drafts that turn out wrong can be taken back."""
        return always_rewinds(self.make_cache())


class Speculation:
    """The place of one row; it has the form of a `Batch`."""

    def __init__(self, pair: ModelPair) -> None:
        self._pair = pair
        self.drafted_tokens = self.accepted_tokens = 0
        """How many were proposed in the last step, and how many of them were right."""
        self.rows: list[SequenceState] = []
        self._layers: KVCache = []

    def join(self, rows: Sequence[SequenceState], layers: KVCache, *, is_merged: bool) -> None:
        """Take the only row, in whose KV caches all of the prompt is but its last token."""
        (row,) = rows
        self.rows, self._layers = [row], layers

    def step(self) -> list[Written]:
        """Draft, check, and take what is right: at least one token."""
        import mlx.core as mx

        (row,) = self.rows
        own, drafts = self._pair.parted(self._layers)
        place = row.writer.answer_tokens
        left = None if row.writer.limit is None else row.writer.limit - place
        count = min(row.prepared.options.draft_tokens, (left or 1 << 30) - 1)
        last = mx.array([row.tokens[-1]], dtype=mx.uint32)
        drafted = self._drafted(row, last, count, place, drafts)
        logits = self._pair.model(mx.concatenate([last, *drafted])[None], cache=own)[0]
        row.sampler.go_to(place)
        chosen = mx.concatenate([sample(logits[each : each + 1], [row.sampler]) for each in range(count + 1)])
        scores = LazyLogProbabilities.of([row] * (count + 1), logits, chosen)
        mx.eval(chosen, *drafted, *(() if scores is None else scores.arrays))
        tokens = cast("list[int]", chosen.tolist())
        proposed = [int(cast(int, token.item())) for token in drafted]
        right = next((each for each in range(count) if tokens[each] != proposed[each]), count)
        self.drafted_tokens, self.accepted_tokens = count, right
        rewind(own, count - right)
        if right == count and count:  # the last one drafted has not been through the draft itself
            self._pair.propose(drafted[-1][None], drafts)
        elif count:
            rewind(drafts, count - right - 1)
        else:
            self._pair.propose(last[None], drafts)
        row.tokens += tokens[: right + 1]
        row.cached_tokens += right + 1
        read = {} if scores is None else scores.read()
        return [Written(row, tokens[each], read.get(each)) for each in range(right + 1)]

    def _drafted(self, row: SequenceState, last: mx.array, count: int, place: int, layers: KVCache) -> list[mx.array]:
        import mlx.core as mx

        drafted: list[mx.array] = []
        row.sampler.go_to(place)
        for _ in range(count):
            logits = self._pair.propose(last[None], layers)[:, -1, :]
            last = sample(logits, [row.sampler]).astype(mx.uint32)
            mx.async_eval(last)  # type: ignore[no-untyped-call]
            drafted.append(last)
        return drafted

    def leave(
        self, leaving: Sequence[SequenceState], *, keeping: Sequence[SequenceState] = ()
    ) -> list[tuple[SequenceState, KVCache]]:
        """Let the row go, with the KV caches of both models."""
        kept = [(row, self._layers) for row in keeping]
        self.rows, self._layers = [row for row in self.rows if row not in leaving], []
        return kept
