"""Prompts are read in parts, also in parts of layers, and leave the same layer caches whatever the parts were."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engine.layers import fresh
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
@pytest.mark.parametrize("limit", [1, 16, 40])
def test_a_prompt_read_in_slices_is_read_like_a_whole_one(kind: str, limit: int) -> None:
    model = random_model(kind)
    row = row_of(words(3, 70))
    prefill = Prefill(model, PrefixCache(model, 0))
    prefill.add(row)
    depth, sizes, ready = len(fresh(model)), [], None
    while ready is None:
        part = prefill.advance(limit)
        sizes.append(part.size)
        ready = part.ready
    assert max(sizes) <= limit
    assert sum(sizes) == 69 * depth, "a token went through a layer twice, or never"
    assert mx.allclose(next_logits(model, ready, row), whole_logits(model, row), atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.lists(st.integers(2, 120), min_size=1, max_size=4))
def test_parts_of_any_size_leave_nothing_out(limits: list[int], lengths: list[int]) -> None:
    model = random_model("qwen3")
    prefill = Prefill(model, PrefixCache(model, 0))
    rows = [row_of(words(seed, length)) for seed, length in enumerate(lengths)]
    for row in rows:
        prefill.add(row)
    for turn in range(100_000):
        part = prefill.advance(limits[turn % len(limits)])
        assert part.size or part.ready, "nothing was read"
        if part.ready is not None and not part.ready.is_merged:
            (row,) = part.ready.rows
            assert mx.allclose(next_logits(model, part.ready, row), whole_logits(model, row), atol=2e-3)
        if not prefill.rows:
            break
    assert not prefill.rows
    assert all(row.cached_tokens == len(row.tokens) - 1 for row in rows)


def test_a_prompt_left_between_two_layers_is_kept_as_far_as_it_began() -> None:
    model = random_model("qwen3")
    prefixes = PrefixCache(model, 1 << 26)
    prefill = Prefill(model, prefixes)
    row = row_of(words(3, 70))
    prefill.add(row)
    for _ in range(3):
        assert prefill.advance(16).size == 16
    assert row.cached_tokens == 16
    prefill.drop([row])
    layers, reused = prefixes.take(row.tokens)
    assert reused == 32
    logits = model(mx.array([row.tokens[32:]]), cache=layers)[0, -1]
    assert mx.allclose(logits, whole_logits(model, row), atol=2e-3)
