"""Prompts are read in parts, also in parts of layers, and leave the same layer caches whatever the parts were."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engine.layers import fresh
from runtime.engine.pace import Portion
from runtime.engine.prefill import Prefill, Ready
from runtime.engine.prefix_cache import PrefixCache
from runtime.engine.row import Row
from tests.runtime.engine.asking import TOKENIZER, prepared, words
from tests.runtime.engine.random_models import KINDS, random_model


def row_of(tokens: list[int]) -> Row:
    return Row(prepared(tokens), lambda _: None, TOKENIZER)


def next_logits(model: Any, ready: Ready, row: Row) -> mx.array:
    logits: mx.array = model(mx.array([[row.tokens[-1]]]), cache=ready.layers)[0, -1]
    return logits


def whole_logits(model: Any, row: Row) -> mx.array:
    logits: mx.array = model(mx.array([row.tokens]), cache=fresh(model))[0, -1]
    return logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("portion", [Portion(1, 0, 1), Portion(16, 0, 1), Portion(16, 0, 32), Portion(40, 0)])
@pytest.mark.parametrize("prefix_bytes", [0, 1 << 26])
def test_a_prompt_read_in_slices_is_read_like_a_whole_one(kind: str, portion: Portion, prefix_bytes: int) -> None:
    model = random_model(kind)
    row = row_of(words(3, 70))
    prefill = Prefill(model, PrefixCache(model, prefix_bytes))
    prefill.add(row)
    depth, sizes, ready = len(fresh(model)), [], None
    while ready is None:
        part = prefill.advance(portion)
        assert part.tokens <= portion.tokens
        assert part.layers <= max((portion.size or 0) // (part.tokens or 1), 1) or portion.size is None
        sizes.append(part.tokens * part.layers)
        ready = part.ready
    assert sum(sizes) == 69 * max(depth - 1, 1), "a token went through a layer twice, or never"
    assert mx.allclose(next_logits(model, ready, row), whole_logits(model, row), atol=2e-3)


PORTIONS = st.builds(Portion, st.integers(1, 60), st.integers(0, 200), st.none() | st.integers(1, 150))


@settings(max_examples=25, deadline=None)
@given(st.lists(PORTIONS, min_size=1, max_size=40), st.lists(st.integers(2, 120), min_size=1, max_size=4))
def test_parts_of_any_size_leave_nothing_out(portions: list[Portion], lengths: list[int]) -> None:
    model = random_model("qwen3")
    prefill = Prefill(model, PrefixCache(model, 1 << 26))
    rows = [row_of(words(seed, length)) for seed, length in enumerate(lengths)]
    for row in rows:
        prefill.add(row)
    for turn in range(100_000):
        part = prefill.advance(portions[turn % len(portions)])
        assert part.tokens or part.ready, "nothing was read"
        if part.ready is not None and not part.ready.is_merged:
            (row,) = part.ready.rows
            assert mx.allclose(next_logits(model, part.ready, row), whole_logits(model, row), atol=2e-3)
        if not prefill.rows:
            break
    assert not prefill.rows
    assert all(row.cached_tokens == len(row.tokens) - 1 for row in rows)


def test_a_long_prompt_begins_with_one_layer_cache_after_another() -> None:
    model = random_model("deep")
    row = row_of(words(3, 600))
    prefill = Prefill(model, PrefixCache(model, 0))
    prefill.add(row)
    depth, ready = len(fresh(model)), None
    for done in range(depth):
        assert row.cached_tokens == 0, f"the first tokens had passed after {done} parts"
        assert prefill.advance(Portion(100, 0, 1000)).tokens == 100
    assert row.cached_tokens == 100
    while ready is None:
        ready = prefill.advance(Portion(100, 0, 1000)).ready
    assert mx.allclose(next_logits(model, ready, row), whole_logits(model, row), atol=2e-3)


def test_what_is_kept_of_a_prompt_is_not_copied_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.engine.prefill._COPIED_AT_ONCE_BYTES", 0)
    model = random_model("deep")
    prefill = Prefill(model, PrefixCache(model, 1 << 26))
    row = row_of(words(3, 40))
    prefill.add(row)
    apart: list[int] = []
    ready = None
    while ready is None:
        part = prefill.advance(Portion(64, 0, 1))
        ready = part.ready
        apart.append(part.tokens)
    depth = len(fresh(model))
    assert apart == [39] * (depth - 1) + [0] * depth
    assert all(layer.keys.shape[2] > layer.offset for layer in ready.layers), "no room for the next token"
    assert mx.allclose(next_logits(model, ready, row), whole_logits(model, row), atol=2e-3)


def test_a_prompt_left_between_two_layers_is_kept_as_far_as_it_began() -> None:
    model = random_model("deep")
    prefixes = PrefixCache(model, 1 << 26)
    prefill = Prefill(model, prefixes)
    row = row_of(words(3, 70))
    prefill.add(row)
    depth = len(fresh(model))
    for _ in range(depth):  # so that the second part has come to its first layers
        assert prefill.advance(Portion(16, 0, 1)).tokens == 16
    assert row.cached_tokens == 16
    prefill.drop([row])
    layers, reused = prefixes.take(row.tokens)
    assert reused == 32
    logits = model(mx.array([row.tokens[32:]]), cache=layers)[0, -1]
    assert mx.allclose(logits, whole_logits(model, row), atol=2e-3)
