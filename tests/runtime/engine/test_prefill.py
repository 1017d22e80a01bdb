"""Prefill in chunks, also split between layers, gives the same KV caches for any chunks."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.kv_cache import can_merge, fresh
from mlxbuild.runtime.engine.core.prefill import Prefill, Ready
from mlxbuild.runtime.engine.core.prefill_budget import PrefillChunk
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState
from tests.runtime.engine.questions import TOKENIZER, prepared, words
from tests.runtime.engine.random_models import KINDS, random_model


def chunk_of(tokens: int, size: int | None = None) -> PrefillChunk:
    """A chunk of so many tokens, through as many layers as fit in `size` token-layers; all layers without a size."""
    return PrefillChunk(tokens, None if size is None else lambda count: max(size // count, 1))


def sequence_of(tokens: list[int]) -> SequenceState:
    return SequenceState(prepared(tokens), lambda _: None, TOKENIZER)


def next_logits(model: Any, ready: Ready, sequence: SequenceState) -> mx.array:
    logits: mx.array = model(mx.array([[sequence.tokens[-1]]]), cache=ready.cache)[0, -1]
    return logits


def whole_logits(model: Any, sequence: SequenceState) -> mx.array:
    logits: mx.array = model(mx.array([sequence.tokens]), cache=fresh(model))[0, -1]
    return logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tokens", "size"), [(1, 1), (16, 1), (16, 32), (40, None)])
@pytest.mark.parametrize("prefix_bytes", [0, 1 << 26])
def test_a_prompt_prefilled_in_chunks_gives_the_same_as_a_whole_one(
    kind: str, tokens: int, size: int | None, prefix_bytes: int
) -> None:
    chunk = chunk_of(tokens, size)
    model = random_model(kind)
    sequence = sequence_of(words(3, 70))
    prefill = Prefill(model, PrefixCache(model, prefix_bytes))
    prefill.add(sequence)
    depth, sizes, ready = len(fresh(model)), [], None
    while ready is None:
        read = prefill.advance(chunk)
        assert read.tokens <= tokens
        assert size is None or read.layers <= max(size // (read.tokens or 1), 1)
        sizes.append(read.tokens * read.layers)
        ready = read.ready
    assert sum(sizes) == 69 * max(depth - 1, 1), "a token went through a layer twice, or never"
    assert mx.allclose(next_logits(model, ready, sequence), whole_logits(model, sequence), atol=2e-3)


CHUNKS = st.builds(chunk_of, st.integers(1, 300), st.none() | st.integers(1, 150))


def require_right(model: Any, ready: Ready) -> None:
    """Each sequence continues as if its prompt had been computed at once and alone."""
    last = mx.array([[sequence.tokens[-1]] for sequence in ready.sequences])
    logits = model(last, cache=ready.cache)[:, -1]
    for sequence, mine in zip(ready.sequences, logits, strict=True):
        assert mx.allclose(mine, whole_logits(model, sequence), atol=2e-3)
        assert sequence.cached_tokens == len(sequence.tokens) - 1


@settings(max_examples=20, deadline=None)
@given(
    st.lists(CHUNKS, min_size=1, max_size=40),
    st.lists(st.integers(2, 120), min_size=1, max_size=4),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_chunks_of_any_size_leave_nothing_out(
    chunks: list[PrefillChunk], lengths: list[int], leave_at: list[int]
) -> None:
    model = random_model("qwen3")
    prefixes = PrefixCache(model, 1 << 26)
    prefill = Prefill(model, prefixes)
    sequences = [sequence_of(words(seed, length)) for seed, length in enumerate(lengths)]
    for sequence in sequences:
        prefill.add(sequence)
    for turn in range(100_000):
        if turn in leave_at and prefill.sequences:
            leaving = prefill.sequences[turn % len(prefill.sequences)]
            prefill.drop([leaving])
            cache, reused = prefixes.take(leaving.tokens, leaving.kind)
            logits = model(mx.array([leaving.tokens[reused:]]), cache=cache)[0, -1]
            assert mx.allclose(logits, whole_logits(model, leaving), atol=2e-3)
        if not prefill.sequences:
            break
        read = prefill.advance(chunks[turn % len(chunks)])
        assert read.tokens or read.ready, "nothing was read"
        if read.ready is not None:
            require_right(model, read.ready)
    assert not prefill.sequences


@pytest.mark.parametrize("kind", KINDS)
def test_short_prompts_are_prefilled_together_a_few_layers_at_a_time(kind: str) -> None:
    model = random_model(kind)
    depth = len(fresh(model))
    prefill = Prefill(model, PrefixCache(model, 0))
    sequences = [sequence_of(words(seed, length)) for seed, length in enumerate([12, 30, 30, 7])]
    for sequence in sequences:
        prefill.add(sequence)
    chunks, ready = [], []
    while prefill.sequences:
        chunks.append(prefill.advance(chunk_of(120, 1)))
        ready += [chunks[-1].ready] if chunks[-1].ready else []
    for each in ready:
        require_right(model, each)
    if can_merge(fresh(model)):
        assert [each.sequences for each in ready] == [sequences]
        assert [each.tokens for each in chunks] == [29 * 4] * max(depth - 1, 1)


@pytest.mark.parametrize("kind", ["gemma3_text", "gpt_oss", "lfm2"])
@pytest.mark.parametrize("lengths", [[1, 2], [2, 1], [1, 2, 2, 1, 9], [1, 1]])
def test_prompts_without_waiting_tokens_are_batched_only_with_each_other(kind: str, lengths: list[int]) -> None:
    model = random_model(kind)
    prefill = Prefill(model, PrefixCache(model, 0))
    for seed, length in enumerate(lengths):
        prefill.add(sequence_of(words(seed, length)))
    ready = []
    while prefill.sequences:
        read = prefill.advance(chunk_of(64))
        ready += [read.ready] if read.ready else []
    assert len(ready) == len({length > 1 for length in lengths}), "those of a kind are ready at once"
    for each in ready:
        require_right(model, each)


def test_a_long_prompt_begins_with_one_layer_cache_after_another() -> None:
    model = random_model("deep")
    sequence = sequence_of(words(3, 600))
    prefill = Prefill(model, PrefixCache(model, 0))
    prefill.add(sequence)
    depth, ready = len(fresh(model)), None
    for done in range(depth):
        assert sequence.cached_tokens == 0, f"the first tokens had passed after {done} chunks"
        assert prefill.advance(chunk_of(100, 1000)).tokens == 100
    assert sequence.cached_tokens == 100
    while ready is None:
        ready = prefill.advance(chunk_of(100, 1000)).ready
    assert mx.allclose(next_logits(model, ready, sequence), whole_logits(model, sequence), atol=2e-3)


def test_a_kept_prefix_is_not_copied_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxbuild.runtime.engine.core.prefill._COPIED_AT_ONCE_BYTES", 0)
    model = random_model("deep")
    prefill = Prefill(model, PrefixCache(model, 1 << 26))
    sequence = sequence_of(words(3, 40))
    prefill.add(sequence)
    apart: list[int] = []
    ready = None
    while ready is None:
        read = prefill.advance(chunk_of(64, 1))
        ready = read.ready
        apart.append(read.tokens)
    depth = len(fresh(model))
    assert apart == [39] * (depth - 1) + [0] * depth
    assert all(layer.keys.shape[2] > layer.offset for layer in ready.cache), "no room for the next token"
    assert mx.allclose(next_logits(model, ready, sequence), whole_logits(model, sequence), atol=2e-3)


def test_a_prompt_left_between_two_layers_is_kept_as_far_as_it_began() -> None:
    model = random_model("deep")
    prefixes = PrefixCache(model, 1 << 26)
    prefill = Prefill(model, prefixes)
    sequence = sequence_of(words(3, 70))
    prefill.add(sequence)
    depth = len(fresh(model))
    for _ in range(depth):  # until the second chunk has passed its first layers
        assert prefill.advance(chunk_of(16, 1)).tokens == 16
    assert sequence.cached_tokens == 16
    prefill.drop([sequence])
    cache, reused = prefixes.take(sequence.tokens)
    assert reused == 32
    logits = model(mx.array([sequence.tokens[32:]]), cache=cache)[0, -1]
    assert mx.allclose(logits, whole_logits(model, sequence), atol=2e-3)


def test_a_common_prefix_of_many_prompts_is_prefilled_once() -> None:
    model = random_model("qwen3")
    prefill = Prefill(model, PrefixCache(model, 1 << 26))
    beginning = words(1, 30)
    sequences = [sequence_of(beginning + words(seed, 12)) for seed in range(2, 6)]
    for sequence in sequences:
        prefill.add(sequence)
    read = [prefill.advance(chunk_of(512)), prefill.advance(chunk_of(512))]
    assert [each.tokens for each in read] == [41, 3 * 11]
    assert not prefill.sequences
    for each in read:
        assert each.ready is not None
        require_right(model, each.ready)


def test_a_common_prefix_of_two_prompts_is_prefilled_with_both() -> None:
    model = random_model("qwen3")
    prefill = Prefill(model, PrefixCache(model, 1 << 26))
    for seed in (2, 3):
        prefill.add(sequence_of(words(1, 10) + words(seed, 12)))
    assert prefill.advance(chunk_of(512)).tokens == 2 * 21
    assert not prefill.sequences
