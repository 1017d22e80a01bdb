"""KV caches of different layers grow in different steps, and keep their contents."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.core.kv_cache import fresh, grow_in_turn, merged
from tests.runtime.engine.questions import words
from tests.runtime.engine.random_models import random_model


@pytest.mark.parametrize("rows", [1, 2])
def test_no_step_grows_more_than_one_layer(rows: int) -> None:
    model = random_model("qwen3")
    prompts = [words(seed, 250) for seed in range(1, rows + 1)]
    alone = [fresh(model) for _ in prompts]
    for layers, prompt in zip(alone, prompts, strict=True):
        model(mx.array([prompt]), cache=layers)
    layers = alone[0] if rows == 1 else merged(alone)  # which have no room to spare: theirs is made at once
    more = words(9, 250)
    model(mx.array([more] * rows), cache=layers)
    answer, grown = words(7, 20), []
    for token in answer:
        before = [layer.keys.shape[2] for layer in layers]
        grow_in_turn(layers)
        logits = model(mx.array([[token]] * rows), cache=layers)[:, -1]
        grown.append(sum(layer.keys.shape[2] > room for layer, room in zip(layers, before, strict=True)))
    assert max(grown) == 1
    assert sum(grown) == len(layers)
    for row, prompt in enumerate(prompts):
        whole = model(mx.array([[*prompt, *more, *answer]]), cache=fresh(model))[0, -1]
        assert mx.allclose(logits[row], whole, atol=2e-3)
