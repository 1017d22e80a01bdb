"""Compiled steps equal uncompiled ones, with any capacity of the caches, and are turned off where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.core.decode_step import DecodeStep, can_compile
from mlxbuild.runtime.engine.core.kv_cache import KVCache, fresh, merged, shared
from tests.runtime.engine.questions import answers, engine_of, prepared, words
from tests.runtime.engine.random_models import OWN_CONFIG, PLAIN_CONFIG, VOCABULARY, random_model

PLAIN_KINDS = ("qwen3", "wide", *PLAIN_CONFIG)


def read(model: Any, count: int) -> KVCache:
    layers = fresh(model)
    model(mx.array([words(3, count)]), cache=layers)
    mx.eval([layer.state for layer in layers])
    return layers


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enable compiling in MLX; which kernels that produces is tested in `runner/test_kernels`."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mx.enable_compile()
    yield
    mx.disable_compile()


@pytest.mark.parametrize("kind", PLAIN_KINDS)
@pytest.mark.parametrize("count", [3, 250, 256])
def test_logits_are_those_of_plain_steps(kind: str, count: int) -> None:
    model = random_model(kind)
    layers, step = read(model, count), DecodeStep(model)
    if not can_compile(layers):
        pytest.fail(f"{kind} has other KV caches")
    twins = shared(layers)
    step.compile()
    for token in words(5, 20):
        mine = step(mx.array([token]), layers)
        plain = model(mx.array([[token]]), cache=twins)[:, -1, :]
        assert step.is_compiled, "given up"
        assert mx.allclose(mine, plain, atol=1e-3 * mx.abs(plain).max().item())
    assert layers[0].offset == count + 20


@pytest.mark.parametrize("kind", sorted({*OWN_CONFIG} - {"qwen3", "llama4_text"}))
def test_other_kinds_of_state_take_plain_steps(kind: str) -> None:
    model = random_model(kind)
    layers = read(model, 40)
    assert not can_compile(layers)
    step = DecodeStep(model)
    step.compile()
    twins = shared(layers)
    mine = step(mx.array([9]), layers)
    assert mx.allclose(mine, model(mx.array([[9]]), cache=twins)[:, -1, :])


def test_several_sequences_and_empty_caches_take_plain_steps() -> None:
    model = random_model("qwen3")
    step = DecodeStep(model)
    step.compile()
    first, second = read(model, 20), read(model, 30)
    alone = step(mx.array([4]), shared(first))
    together = step(mx.array([4, 5]), merged([first, second]))
    assert mx.allclose(together[0], alone[0], atol=1e-3)
    assert step(mx.array([4]), fresh(model)).shape == (1, VOCABULARY)


class ReadsItsPosition:
    """A model whose code evaluates its position, as some do."""

    def __init__(self, model: Any) -> None:
        self.model, self.layers, self.modules = model, model.layers, model.modules

    def __call__(self, tokens: mx.array, cache: KVCache) -> Any:
        logits = self.model(tokens, cache=cache)
        return logits if int(cache[0].offset) % 2 else logits * 2


class KnowsItsCaches(ReadsItsPosition):
    """A model whose code behaves differently with unknown kinds of caches."""

    def __call__(self, tokens: mx.array, cache: KVCache) -> Any:
        logits = self.model(tokens, cache=cache)
        return logits if type(cache[0]).__name__ == "KVCache" else logits + 1


def test_a_model_that_cannot_be_compiled_is_not(compiler: None) -> None:
    assert_given_up(ReadsItsPosition(random_model("gpt2")))


def test_a_model_that_would_be_compiled_wrongly_is_not() -> None:
    assert_given_up(KnowsItsCaches(random_model("qwen3")))


def assert_given_up(model: Any) -> None:
    step = DecodeStep(model)
    step.compile()
    layers = read(model, 40)
    twins = shared(layers)
    mine = step(mx.array([9]), layers)
    assert not step.is_compiled
    assert mx.array_equal(mine, model(mx.array([[9]]), cache=twins)[:, -1, :])
    assert layers[0].offset == 41


def test_an_engine_answers_the_same_with_compiled_steps() -> None:
    model = random_model("llama")
    asked = [prepared(words(seed, 30), 40, temperature=0.9, seed=seed) for seed in (1, 2)]
    with engine_of(model) as engine:
        plain = [answers(engine, request)[0].tokens for request in asked]
        engine.compile_steps().result(10)
        assert [answers(engine, request)[0].tokens for request in asked] == plain
        assert [one.tokens for one in answers(engine, *asked)] == plain
