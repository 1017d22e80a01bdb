"""Chunked prefill: computes the KV caches of prompts in chunks, so that decoding need not wait for a whole prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.forward_pass import ForwardPass
from mlxbuild.runtime.engine.core.kv_cache import (
    KVCache,
    always_rewinds,
    can_merge,
    extracted,
    fresh,
    grow_by,
    merged,
    nbytes,
    prefill_padded,
    quantized,
    shared,
    unshare,
)
from mlxbuild.runtime.engine.core.prefill_budget import PrefillChunk
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState

_LIKE_MLX_LM_TOKENS = 2048
"""Chunk size of mlx-lm's own commands; used for models whose results depend on the chunks."""
SHORT_TOKENS = 256
"""Prompts with at most this many tokens left are prefilled together."""
_TOKENS_BETWEEN_CHECKPOINTS = 2048
_COPIED_AT_ONCE_BYTES = 8 << 20
"""Copying less than this is not noticed as a stall."""


@dataclass(slots=True)
class _PromptPrefill:
    """The prefill of one prompt: all of its tokens but the last."""

    sequence: SequenceState
    model: Any
    group_size: int | None
    waiting: list[int]
    """Tokens that still have to be computed."""
    cache: KVCache | None = None
    """None until the prefill starts: until then, other prompts may add their shared prefix to the prefix cache."""
    stops: list[int] = field(default_factory=list)
    """Numbers of tokens at which a checkpoint is kept; ascending."""
    forward_pass: ForwardPass | None = None
    """The pass in progress over the first of the waiting tokens."""
    batch: _PrefillBatch | None = None
    """The batch of short prompts that it belongs to."""
    is_long: bool = False
    """Whether the KV cache is allocated for a whole long prompt with the first chunk."""
    shared: list[Any] | None = None
    """Layers that still share memory with the copy in the prefix cache; None until the prompt is computed."""


@dataclass(frozen=True, slots=True)
class _PrefillBatch:
    """Short prompts that are prefilled to their ends as one batch."""

    prompts: list[_PromptPrefill]
    forward_pass: ForwardPass


@dataclass(frozen=True, slots=True)
class Ready:
    """Sequences whose prefill is finished, with their KV cache, ready to join a decode batch."""

    sequences: list[SequenceState]
    cache: KVCache
    is_merged: bool


@dataclass(frozen=True, slots=True)
class PrefilledChunk:
    """What one call of `advance` has computed."""

    sequences: list[SequenceState]
    """Sequences whose number of cached tokens has grown."""
    tokens: int
    """How many tokens, padding included."""
    layers: int
    """Through how many layers the tokens went."""
    ready: Ready | None = None


class Prefill:
    """The prompts being prefilled. Chunks go to the oldest prompt and to the shortest one in turn."""

    def __init__(
        self,
        model: Any,
        prefixes: PrefixCache,
        batching: Batching = EVERYTHING,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Prompts are batched and chunked only as far as `batching` allows; without chunks the prefix cache keeps
        nothing.

        `checkpoint` is called before each layer, and may raise.
        """
        self._checkpoint = checkpoint
        self._model = model
        self._batching = batching
        self._prefixes = prefixes
        self._prompts: list[_PromptPrefill] = []
        self._turn = 0
        self._last: ForwardPass | None = None

    @property
    def sequences(self) -> list[SequenceState]:
        """Sequences whose prefill is not finished, oldest first."""
        return [prompt.sequence for prompt in self._prompts]

    def add(self, sequence: SequenceState, *, model: Any = None, group_size: int | None = None) -> None:
        """Queue the prompt of a sequence. The prefix cache is used when its turn comes.

        `model` replaces the usual one for a sequence of another kind. `group_size` is that of quantized keys and
        values, for a sequence that asks for them.
        """
        known = self._prefixes.knows(sequence.tokens, sequence.kind)
        self._prompts.append(_PromptPrefill(sequence, model or self._model, group_size, sequence.tokens[known:-1]))

    def drop(self, sequences: Sequence[SequenceState]) -> None:
        """Stop the prefill of some sequences; what was computed is kept in the prefix cache."""
        gone = {id(sequence) for sequence in sequences}
        for prompt in self._prompts:
            if id(prompt.sequence) in gone and prompt.cache is not None:
                if prompt.batch is not None:
                    self._split(prompt.batch)
                elif prompt.forward_pass is not None:
                    self._advance_pass(prompt, prompt.forward_pass, PrefillChunk(0))
                self._keep(prompt.sequence, prompt.cache)
        self._prompts = [prompt for prompt in self._prompts if id(prompt.sequence) not in gone]

    def settle(self) -> None:
        """Wait until the last chunk is computed."""
        import mlx.core as mx

        last, self._last = self._last, None
        if last is not None and last.under_way is not None:
            mx.eval(last.under_way)

    def advance(self, chunk: PrefillChunk) -> PrefilledChunk:
        """Compute a chunk of one prompt, or of a batch of short prompts."""
        prompt = self._next()
        cache = self._begun(prompt)
        is_short = prompt.forward_pass is None and len(prompt.waiting) <= min(chunk.tokens, SHORT_TOKENS)
        goes_first = chunk.layers is None and self._goes_first(prompt)
        if prompt.batch is None and is_short and not goes_first and self._merges(prompt):
            together = self._fitting(prompt, chunk.tokens)
            if len(together) > 1:
                self._merge(together)
        if prompt.batch is not None:
            return self._advance_batch(prompt.batch, chunk)
        sequence = prompt.sequence
        tokens, passed = self._advance_prompt(prompt, cache, chunk) if prompt.waiting else (0, 0)
        if prompt.waiting:
            return PrefilledChunk([] if prompt.forward_pass else [sequence], tokens, passed)
        if prompt.shared is None:
            is_kept = self._keep(sequence, cache)
            prompt.shared = list(cache) if is_kept and nbytes(cache) > _COPIED_AT_ONCE_BYTES else []
        if chunk.layers is None or not tokens:
            _unshare(prompt.shared, None if chunk.layers is None else _COPIED_AT_ONCE_BYTES)
        if prompt.shared:
            return PrefilledChunk([], tokens, passed)
        self._prompts.remove(prompt)
        grow_by(cache, 0)
        return PrefilledChunk([sequence], tokens, passed, Ready([sequence], cache, is_merged=False))

    def _next(self) -> _PromptPrefill:
        self._turn += 1
        oldest = self._prompts[0]
        return oldest if self._turn % 2 else min(self._prompts, key=lambda prompt: len(prompt.waiting))

    def _begun(self, prompt: _PromptPrefill) -> KVCache:
        """The KV cache of a prompt; taken from the prefix cache when its prefill starts."""
        if prompt.cache is not None:
            return prompt.cache
        sequence = prompt.sequence
        cache, reused = self._prefixes.take(sequence.tokens, sequence.kind, model=prompt.model)
        bits = sequence.prepared.options.kv_bits
        if bits and prompt.group_size is not None and not reused:
            own = len(fresh(self._model))  # the draft model's layers follow; they are small
            cache = [*quantized(cache[:own], bits, prompt.group_size), *cache[own:]]
        sequence.begin(reused)
        prompt.cache, prompt.waiting = cache, sequence.tokens[reused:-1]
        grow_by(cache, len(prompt.waiting))
        prompt.is_long = len(prompt.waiting) > SHORT_TOKENS
        if self._batching.prefills_in_chunks and not always_rewinds(cache):
            regular = range(_TOKENS_BETWEEN_CHECKPOINTS, len(sequence.tokens), _TOKENS_BETWEEN_CHECKPOINTS)
            stops = sorted({*sequence.prepared.boundaries, *regular})
            prompt.stops = [stop for stop in stops if reused < stop < len(sequence.tokens) - 1]
        return cache

    def _goes_first(self, prompt: _PromptPrefill) -> bool:
        """Whether to finish it before other prompts with the same prefix: it must save them at least as much work."""
        sequence = prompt.sequence
        if not self._prefixes.is_used or not always_rewinds(self._begun(prompt)):
            return False
        others = (other.sequence for other in self._prompts if other is not prompt and other.cache is None)
        spared = sum(
            max(_common_prefix_tokens(sequence.tokens, other.tokens) - sequence.cached_tokens, 0)
            for other in others
            if other.kind == sequence.kind
        )
        return spared >= len(prompt.waiting) > 0

    def _fitting(self, first: _PromptPrefill, limit_tokens: int) -> list[_PromptPrefill]:
        """Short prompts that fit into one chunk together, padded to the longest of them."""
        together, longest = [first], len(first.waiting)
        for prompt in self._prompts:
            is_begun = prompt.forward_pass is not None or prompt.batch is not None
            if first.stops or prompt is first or is_begun or len(prompt.waiting) > SHORT_TOKENS:
                continue
            width = max(longest, len(prompt.waiting))
            if bool(prompt.waiting) != bool(first.waiting):
                continue  # one without tokens cannot be padded: sliding windows fail beside padding alone
            if width * (len(together) + 1) > limit_tokens or not self._merges(prompt) or prompt.stops:
                continue
            longest = width
            together.append(prompt)
        return together

    def _merges(self, prompt: _PromptPrefill) -> bool:
        cache = self._begun(prompt)
        return self._batching.prefills_together and not prompt.sequence.kind and can_merge(cache)

    def _advance_prompt(self, prompt: _PromptPrefill, cache: KVCache, chunk: PrefillChunk) -> tuple[int, int]:
        """Compute a chunk of one prompt; returns how many tokens went through how many layers.

        A chunk is split between layers if all of it at once would take too long.
        """
        import mlx.core as mx

        if prompt.forward_pass is None:
            count = chunk.tokens if self._batching.prefills_in_chunks else _LIKE_MLX_LM_TOKENS
            if prompt.stops:
                count = min(count, prompt.stops[0] - prompt.sequence.cached_tokens)
            count = min(count, len(prompt.waiting))
            prompt.model(mx.array(prompt.waiting[:count])[None], cache=cache)
            prompt.forward_pass = ForwardPass(cache, count, allocates=prompt.is_long)
        return prompt.forward_pass.tokens, self._advance_pass(prompt, prompt.forward_pass, chunk)

    def _advance_pass(self, prompt: _PromptPrefill, forward_pass: ForwardPass, chunk: PrefillChunk) -> int:
        """Advance the pass in progress by some layers; returns by how many."""
        self._last = forward_pass
        passed = forward_pass.advance(chunk.layers, self._checkpoint)
        if forward_pass.is_over:
            sequence, count = prompt.sequence, forward_pass.tokens
            sequence.cached_tokens += count
            del prompt.waiting[:count]
            prompt.forward_pass = None
            prompt.is_long = False
            if prompt.stops and prompt.stops[0] == sequence.cached_tokens:
                del prompt.stops[0]
                self._keep(sequence, forward_pass.cache)
        return passed

    def _merge(self, prompts: list[_PromptPrefill]) -> None:
        """Build one pass over several prompts to their ends, the shorter ones padded on the right."""
        import mlx.core as mx

        cache = merged([self._begun(prompt) for prompt in prompts])
        tokens = prefill_padded(
            lambda sequences, caches: self._model(mx.array(sequences), cache=caches),
            [prompt.waiting for prompt in prompts],
            cache,
        )
        forward_pass = ForwardPass(cache, tokens, passed=0 if tokens else len(cache))
        for prompt in prompts:
            prompt.batch = _PrefillBatch(prompts, forward_pass)

    def _advance_batch(self, batch: _PrefillBatch, chunk: PrefillChunk) -> PrefilledChunk:
        """Advance a batch of prompts by some layers; all of them are ready after the last one."""
        forward_pass = self._last = batch.forward_pass
        passed = 0 if forward_pass.is_over else forward_pass.advance(chunk.layers, self._checkpoint)
        if not forward_pass.is_over:
            return PrefilledChunk([], forward_pass.tokens, passed)
        sequences = [prompt.sequence for prompt in batch.prompts]
        for sequence in sequences:
            sequence.cached_tokens = len(sequence.tokens) - 1
        done = {id(sequence) for sequence in sequences}
        self._prompts = [prompt for prompt in self._prompts if id(prompt.sequence) not in done]
        return PrefilledChunk(
            sequences, forward_pass.tokens, passed, Ready(sequences, forward_pass.cache, is_merged=True)
        )

    def _split(self, batch: _PrefillBatch) -> None:
        """Finish a batch of prompts, and continue each of them alone."""
        batch.forward_pass.advance(None, self._checkpoint)
        for place, prompt in enumerate(batch.prompts):
            prompt.cache, prompt.waiting = extracted(batch.forward_pass.cache, place), []
            prompt.sequence.cached_tokens = len(prompt.sequence.tokens) - 1
            prompt.batch = None

    def _keep(self, sequence: SequenceState, cache: KVCache) -> bool:
        return self._prefixes.keep(sequence.tokens[: sequence.cached_tokens], shared(cache), sequence.kind)


def _unshare(shared: list[Any], most_bytes: int | None) -> None:
    """Copy layers that share memory until more than `most_bytes` are copied; they are removed from the list."""
    copied = 0
    while shared and (most_bytes is None or copied <= most_bytes):
        layer = shared.pop()
        unshare(layer)
        copied += layer.nbytes


def _common_prefix_tokens(tokens: Sequence[int], others: Sequence[int]) -> int:
    """Length of the common prefix of two prompts."""
    pairs = enumerate(zip(tokens, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(tokens), len(others)))
