"""Sequences that cannot be batched are computed alone, beside the batch: drafted answers, quantized keys and values."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.engine import Engine
from tests.runtime.engine.questions import PLENTY, TOKENIZER, answers, ask, engine_of, prepared, words
from tests.runtime.engine.random_models import random_model


class Perturbed:
    """A draft that is often right: the model itself, with a little noise that depends on the token."""

    def __init__(self, model: Any, strength: float) -> None:
        self._model = model
        self._strength = strength
        self.layers = model.layers

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        logits: mx.array = self._model(tokens, cache=cache)
        noise = mx.sin(mx.arange(logits.shape[-1]) * (1 + tokens[..., None] % 17))
        return logits + self._strength * noise


@settings(max_examples=6, deadline=None)
@given(
    strength=st.sampled_from([0.0, 0.5, 50.0]),
    options=st.sampled_from([{}, {"temperature": 1.0, "seed": 3}, {"temperature": 0.7, "top_k": 20, "seed": 9}]),
    draft_tokens=st.integers(1, 6),
    kv_bits=st.sampled_from([None, 8, 4]),
    length=st.integers(1, 80),
    limit=st.integers(1, 40),
)
def test_a_drafted_answer_is_the_model_s_own(
    strength: float, options: dict[str, Any], draft_tokens: int, kv_bits: int | None, length: int, limit: int
) -> None:
    model = random_model("wide")
    options = {"draft_tokens": draft_tokens, "kv_bits": kv_bits, "logprobs": True, **options}
    request = prepared(words(length, length), limit, **options)
    with engine_of(model) as engine:
        (expected,) = answers(engine, request)
    engine = Engine(model, TOKENIZER, PLENTY, draft=Perturbed(model, strength))
    for _ in range(2):  # the second time with all of it in the prefix cache
        (asked,) = answers(engine, request)
        assert asked.tokens == expected.tokens
        assert asked.finish.answer_tokens == limit
    done = engine.statistics()
    engine.close()
    assert done.accepted_tokens <= done.drafted_tokens
    if strength == 0 and kv_bits is None:
        assert done.accepted_tokens == done.drafted_tokens
        assert done.iterations <= 2 * (3 + -(-limit // (draft_tokens + 1)))


def test_others_are_batched_while_an_answer_is_drafted() -> None:
    model = random_model("qwen3")
    requests = [prepared(words(seed, 9 * seed), 30) for seed in range(1, 5)]
    with engine_of(model) as engine:
        expected = [asked.tokens for asked in answers(engine, *requests)]
    engine = Engine(model, TOKENIZER, PLENTY, draft=Perturbed(model, 0.5))
    assert [asked.tokens for asked in answers(engine, *requests)] == expected
    (left,) = ask(engine, prepared(words(1, 9), None))
    while not left.tokens:
        pass
    engine.cancel(left.ticket)
    assert answers(engine, requests[1])[0].tokens == expected[1]
    engine.close()


def test_a_draft_for_a_model_that_cannot_be_rewound_is_not_used() -> None:
    model = random_model("lfm2")
    with engine_of(model) as engine:
        expected = answers(engine, prepared(words(1, 30)))[0].tokens
    engine = Engine(model, TOKENIZER, PLENTY, draft=random_model("qwen3"))
    assert answers(engine, prepared(words(1, 30)))[0].tokens == expected
    engine.close()


def test_quantized_keys_and_values_are_nearly_the_same_and_wait_for_nobody() -> None:
    requests = [prepared(words(seed, 70), 12) for seed in (1, 2)]
    exact = [prepared(words(seed, 70), 12, kv_bits=8, logprobs=True) for seed in (1, 2)]
    with engine_of(random_model("wide")) as engine:
        plain = [asked.tokens for asked in answers(engine, *requests)]
        quantized = answers(engine, exact[0], requests[1], exact[1], requests[0])
        assert [quantized[3].tokens, quantized[1].tokens] == plain
        again = answers(engine, exact[0])[0]
        assert again.tokens == quantized[0].tokens
        assert again.finish.reused_tokens == 69
    assert [quantized[0].tokens[:3], quantized[2].tokens[:3]] == [tokens[:3] for tokens in plain]


@pytest.mark.parametrize("kind", ["lfm2", "gemma3_text", "qwen3"])
def test_keys_and_values_that_cannot_be_quantized_are_refused(kind: str) -> None:
    with engine_of(random_model(kind)) as engine:
        (asked,) = answers(engine, prepared(words(1, 9), kv_bits=4))
    assert asked.failure.code == "cache-not-quantizable"


def test_those_behind_a_request_whose_place_is_taken_need_not_wait() -> None:
    with engine_of(random_model("wide")) as engine:
        taking, waiting = ask(engine, *[prepared(words(seed, 9), None, kv_bits=8) for seed in (1, 2)])
        answers(engine, prepared(words(3, 9)))
        assert not waiting.events
        engine.cancel(taking.ticket)
        while not waiting.tokens:
            pass
        engine.cancel(waiting.ticket)


def test_a_draft_leaves_no_garbage_behind() -> None:
    engine = Engine(random_model("wide"), TOKENIZER, PLENTY, draft=random_model("qwen3"))
    answers(engine, prepared(words(1, 30)))
    kept = weakref.ref(engine._loop._scheduler)
    gc.disable()
    try:
        engine.close()
        assert kept() is None, "caches go at once, not when garbage is looked for"
    finally:
        gc.enable()


class Narrow(Perturbed):
    """A draft that has fewer embedding rows than the model."""

    ROWS = 150

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        assert tokens.max().item() < self.ROWS
        return super().__call__(tokens, cache)[..., : self.ROWS]


def test_a_draft_may_have_fewer_rows_than_the_model() -> None:
    model = random_model("wide")
    request = prepared(words(1, 40), 60)
    assert max(request.tokens) > Narrow.ROWS
    with engine_of(model) as engine:
        expected = answers(engine, request)[0].tokens
    assert max(expected) > Narrow.ROWS > min(expected)
    engine = Engine(model, TOKENIZER, PLENTY, draft=Narrow(model, 0.0))
    assert answers(engine, request)[0].tokens == expected
    assert engine.statistics().accepted_tokens > 0
    engine.close()
