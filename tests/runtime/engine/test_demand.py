"""How much memory layer caches take: measured against those of a real model, in all forms."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.demand import EXPECTED_ANSWER_TOKENS, Demand
from mlxbuild.runtime.engine.footprint import Footprint
from mlxbuild.runtime.engine.layers import fresh, nbytes, quantized
from mlxbuild.runtime.engine.row import Row
from tests.runtime.engine.asking import TOKENIZER, prepared, words
from tests.runtime.engine.random_models import random_model


def row(length: int, limit: int | None = None, *, is_drafted: bool = False, kv_bits: int | None = None) -> Row:
    made = Row(prepared(words(1, length), limit, kv_bits=kv_bits), lambda events: None, TOKENIZER)
    made.is_drafted = is_drafted
    return made


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_quantized_caches_are_measured(bits: int) -> None:
    model = random_model("wide")
    footprint = Footprint.of(model)
    assert footprint.group_size is not None
    layers = quantized(fresh(model), bits, footprint.group_size)
    model(mx.array([words(1, 256)]), cache=layers)
    assert footprint.in_bits(bits).bytes_for(256) == pytest.approx(nbytes(layers), rel=0.25 if bits in (3, 5, 6) else 0)
    assert footprint.in_bits(bits).bytes_for(256) < footprint.bytes_for(256)


def test_a_model_whose_cache_cannot_be_quantized_has_one_form() -> None:
    footprint = Footprint.of(random_model("qwen3"))
    assert footprint.in_bits(4) == footprint


def test_rows_of_a_batch_are_as_long_as_its_longest_and_others_are_by_themselves() -> None:
    model, draft = random_model("wide"), random_model("qwen3")
    demand = Demand(model, draft)
    assert demand.expected_bytes([row(10)]) == 0, "nothing is measured on a thread that only asks"
    own, small = demand.footprint, Footprint.of(draft)
    assert demand.taken_bytes([]) == 0
    assert demand.taken_bytes([row(10), row(700)]) == 2 * own.bytes_for(700)
    assert demand.taken_bytes([row(700, is_drafted=True)]) == own.bytes_for(700) + small.bytes_for(700)
    assert demand.taken_bytes([row(700, kv_bits=4)]) == own.in_bits(4).bytes_for(700)
    assert demand.expected_bytes([row(10, 5)]) == own.bytes_for(15)
    assert demand.expected_bytes([row(10)]) == own.bytes_for(10 + EXPECTED_ANSWER_TOKENS)
    assert demand.draft_bytes(row(10, 5)) == small.bytes_for(15)
    fitting = own.bytes_for(1024)
    assert demand.tokens_in(fitting, row(1)) == 1024
    assert (demand.tokens_in(fitting, row(1, kv_bits=4)) or 0) > 3 * 1024
