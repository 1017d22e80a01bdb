"""Predicted memory of KV caches, compared with those of a real model, in all forms."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.core.kv_budget import EXPECTED_ANSWER_TOKENS, KVBudget
from mlxbuild.runtime.engine.core.kv_cache import fresh, nbytes, quantized
from mlxbuild.runtime.engine.core.kv_cache_size import KVCacheSize
from mlxbuild.runtime.engine.core.sequence import SequenceState
from tests.runtime.engine.questions import TOKENIZER, prepared, words
from tests.runtime.engine.random_models import random_model


def row(
    length: int, limit: int | None = None, *, is_drafted: bool = False, kv_bits: int | None = None
) -> SequenceState:
    made = SequenceState(prepared(words(1, length), limit, kv_bits=kv_bits), lambda events: None, TOKENIZER)
    made.is_drafted = is_drafted
    return made


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_quantized_caches_are_measured(bits: int) -> None:
    model = random_model("wide")
    kv_cache_size = KVCacheSize.of(model)
    assert kv_cache_size.group_size is not None
    layers = quantized(fresh(model), bits, kv_cache_size.group_size)
    model(mx.array([words(1, 256)]), cache=layers)
    assert kv_cache_size.in_bits(bits).bytes_for(256) == pytest.approx(
        nbytes(layers), rel=0.25 if bits in (3, 5, 6) else 0
    )
    assert kv_cache_size.in_bits(bits).bytes_for(256) < kv_cache_size.bytes_for(256)


def test_a_model_whose_cache_cannot_be_quantized_has_one_form() -> None:
    kv_cache_size = KVCacheSize.of(random_model("qwen3"))
    assert kv_cache_size.in_bits(4) == kv_cache_size


def test_sequences_of_a_batch_are_as_long_as_its_longest_and_others_count_alone() -> None:
    model, draft = random_model("wide"), random_model("qwen3")
    kv_budget = KVBudget(model, draft)
    assert kv_budget.expected_bytes([row(10)]) == 0, "nothing is measured on a thread that only asks"
    own, small = kv_budget.kv_cache_size, KVCacheSize.of(draft)
    assert kv_budget.taken_bytes([]) == 0
    assert kv_budget.taken_bytes([row(10), row(700)]) == 2 * own.bytes_for(700)
    assert kv_budget.taken_bytes([row(700, is_drafted=True)]) == own.bytes_for(700) + small.bytes_for(700)
    assert kv_budget.taken_bytes([row(700, kv_bits=4)]) == own.in_bits(4).bytes_for(700)
    assert kv_budget.expected_bytes([row(10, 5)]) == own.bytes_for(15)
    assert kv_budget.expected_bytes([row(10)]) == own.bytes_for(10 + EXPECTED_ANSWER_TOKENS)
    assert kv_budget.draft_bytes(row(10, 5)) == small.bytes_for(15)
    fitting = own.bytes_for(1024)
    assert kv_budget.tokens_in(fitting, row(1)) == 1024
    assert (kv_budget.tokens_in(fitting, row(1, kv_bits=4)) or 0) > 3 * 1024
