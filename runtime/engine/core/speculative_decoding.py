"""Speculative decoding: a draft model proposes tokens, and the model checks them all in one forward pass.

The answer is the same as without it: each token is sampled from the model's own logits, with the random key of its
position. The draft uses the same keys, so its proposals often agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mlxbuild.runtime.engine.core.batch import SampledToken
from mlxbuild.runtime.engine.core.kv_cache import KVCache, always_rewinds, fresh, rewind
from mlxbuild.runtime.engine.core.log_probabilities import LazyLogProbabilities
from mlxbuild.runtime.engine.core.sampling import sample
from mlxbuild.runtime.engine.core.sequence import SequenceState

if TYPE_CHECKING:
    import mlx.core as mx


class ModelPair:
    """A model and its draft, presented as one model that prefills the KV caches of both."""

    def __init__(self, model: Any, draft: Any) -> None:
        self.model = model
        self.draft = draft
        self.layers = [*model.layers, *draft.layers]

    @cached_property
    def _count(self) -> int:
        """How many layers of the KV cache belong to the model."""
        return len(fresh(self.model))

    def make_cache(self) -> KVCache:
        """An empty KV cache, as mlx-lm asks for it: the model's layers, then the draft's."""
        return [*fresh(self.model), *fresh(self.draft)]

    def split(self, cache: KVCache) -> tuple[KVCache, KVCache]:
        """The KV caches of the model and of the draft."""
        return cache[: self._count], cache[self._count :]

    def __call__(self, tokens: mx.array, cache: KVCache) -> None:
        """Prefill the KV caches of both models; logits are not needed."""
        own, drafts = self.split(cache)
        self.model(tokens, cache=own)
        self.propose(tokens, drafts)

    def propose(self, tokens: mx.array, cache: KVCache) -> mx.array:
        """The draft's logits. Models with the same tokens may differ in the number of unused embedding rows."""
        import mlx.core as mx

        logits: mx.array = self.draft(mx.minimum(tokens, self._last_token), cache=cache)
        return logits

    @cached_property
    def _last_token(self) -> int:
        """The last token that the draft has an embedding row for; nothing is evaluated for this."""
        import mlx.core as mx

        return int(self.draft(mx.array([[0]]), cache=fresh(self.draft)).shape[-1]) - 1

    @property
    def can_speculate(self) -> bool:
        """Whether rejected tokens can be removed from the KV caches."""
        return always_rewinds(self.make_cache())


class Speculation:
    """Decodes one sequence speculatively; it has the interface of a `Batch`."""

    def __init__(self, pair: ModelPair) -> None:
        self._pair = pair
        self.drafted_tokens = self.accepted_tokens = 0
        """How many tokens were proposed in the last step, and how many of them were accepted."""
        self.sequences: list[SequenceState] = []
        self._cache: KVCache = []

    def join(self, sequences: Sequence[SequenceState], cache: KVCache, *, is_merged: bool) -> None:
        """Add the only sequence, whose KV cache holds the whole prompt but its last token."""
        (sequence,) = sequences
        self.sequences, self._cache = [sequence], cache

    def step(self) -> list[SampledToken]:
        """Propose, verify and accept tokens; returns at least one."""
        import mlx.core as mx

        (sequence,) = self.sequences
        own, drafts = self._pair.split(self._cache)
        place = sequence.writer.answer_tokens
        left = None if sequence.writer.limit is None else sequence.writer.limit - place
        count = min(sequence.prepared.options.draft_tokens, (left or 1 << 30) - 1)
        last = mx.array([sequence.tokens[-1]], dtype=mx.uint32)
        drafted = self._drafted(sequence, last, count, place, drafts)
        logits = self._pair.model(mx.concatenate([last, *drafted])[None], cache=own)[0]
        sequence.sampler.go_to(place)
        chosen = mx.concatenate([sample(logits[each : each + 1], [sequence.sampler]) for each in range(count + 1)])
        scores = LazyLogProbabilities.of([sequence] * (count + 1), logits, chosen)
        mx.eval(chosen, *drafted, *(() if scores is None else scores.arrays))
        tokens = cast("list[int]", chosen.tolist())
        proposed = [int(cast(int, token.item())) for token in drafted]
        right = next((each for each in range(count) if tokens[each] != proposed[each]), count)
        self.drafted_tokens, self.accepted_tokens = count, right
        rewind(own, count - right)
        if right == count and count:  # the draft has not computed its own last token yet
            self._pair.propose(drafted[-1][None], drafts)
        elif count:
            rewind(drafts, count - right - 1)
        else:
            self._pair.propose(last[None], drafts)
        sequence.tokens += tokens[: right + 1]
        sequence.cached_tokens += right + 1
        read = {} if scores is None else scores.read()
        return [SampledToken(sequence, tokens[each], read.get(each)) for each in range(right + 1)]

    def _drafted(
        self, sequence: SequenceState, last: mx.array, count: int, place: int, cache: KVCache
    ) -> list[mx.array]:
        import mlx.core as mx

        drafted: list[mx.array] = []
        sequence.sampler.go_to(place)
        for _ in range(count):
            logits = self._pair.propose(last[None], cache)[:, -1, :]
            last = sample(logits, [sequence.sampler]).astype(mx.uint32)
            mx.async_eval(last)  # type: ignore[no-untyped-call]
            drafted.append(last)
        return drafted

    def leave(
        self, leaving: Sequence[SequenceState], *, keeping: Sequence[SequenceState] = ()
    ) -> list[tuple[SequenceState, KVCache]]:
        """Remove the sequence; returns it with the KV caches of both models if it is in `keeping`."""
        kept = [(sequence, self._cache) for sequence in keeping]
        self.sequences, self._cache = [sequence for sequence in self.sequences if sequence not in leaving], []
        return kept
