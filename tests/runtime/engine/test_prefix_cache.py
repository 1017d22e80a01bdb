"""Prefixes are found, evicted by least recent use, kept within the budget, and never change an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlxbuild.runtime.engine.core.kv_cache import KVCache, can_rewind, fresh, nbytes, shared
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache, common_beginning
from tests.runtime.engine.questions import Asked, answers, ask, engine_of, prepared, words
from tests.runtime.engine.random_models import KINDS, WINDOW, random_model

WORDS = tuple(words(1, 600))


def read(model: Any, tokens: Sequence[int], layers: KVCache | None = None) -> KVCache:
    """A KV cache with these tokens."""
    layers = fresh(model) if layers is None else layers
    if tokens:
        model(mx.array([list(tokens)]), cache=layers)
    mx.eval([layer.state for layer in layers])
    return layers


def next_logits(model: Any, layers: KVCache, tokens: Sequence[int]) -> list[float]:
    return model(mx.array([list(tokens)]), cache=layers)[0, -1].tolist()  # type: ignore[no-any-return]


class Prefixes(RuleBasedStateMachine):
    """Compares the cache with a plain list of entries in the order of use."""

    BUDGET = 400_000

    @initialize(kind=st.sampled_from(["qwen3", "qwen3_next", "gemma3_text", "falcon_h1"]))
    def begin(self, kind: str) -> None:
        self.model = random_model(kind)
        self.cache = PrefixCache(self.model, self.BUDGET)
        self.kept: list[tuple[tuple[int, ...], KVCache]] = []
        """Least recently used first."""

    prompts = st.builds(
        lambda shared, own, seed: (*WORDS[:shared], *words(seed, own)),
        st.integers(0, 60),
        st.integers(0, 12),
        st.integers(2, 4),
    )

    @rule(prompt=prompts.filter(bool))
    def keep(self, prompt: tuple[int, ...]) -> None:
        layers = read(self.model, prompt)
        self.cache.keep(prompt, layers)
        if prompt in [tokens for tokens, _ in self.kept]:
            self._use(prompt)
            return
        if can_rewind(layers):
            self.kept = [each for each in self.kept if prompt[: len(each[0])] != each[0]]
        self.kept.append((prompt, layers))
        while sum(nbytes(layers) for _, layers in self.kept) > self.BUDGET:
            del self.kept[0]

    @rule(prompt=prompts.filter(bool), answer=st.integers(1, 4))
    def take(self, prompt: tuple[int, ...], answer: int) -> None:
        usable: list[tuple[int, tuple[int, ...]]] = []
        for tokens, layers in self.kept:
            common = common_beginning(tokens, prompt[:-1])
            if common and (common == len(tokens) or can_rewind(layers)):
                usable.append((common, tokens))
        layers, reused = self.cache.take(prompt)
        assert reused == max((common for common, _ in usable), default=0)
        assert reused < len(prompt)
        if usable:
            self._use(next(tokens for common, tokens in usable if common == reused))
        expected = next_logits(self.model, fresh(self.model), prompt)
        assert next_logits(self.model, layers, prompt[reused:]) == pytest.approx(expected, abs=1e-3)
        read(self.model, words(7, answer), layers)  # what is taken may be changed

    @invariant()
    def within_its_budget(self) -> None:
        if hasattr(self, "cache"):
            figures = self.cache.figures()
            assert figures.size_bytes == sum(nbytes(layers) for _, layers in self.kept) <= self.BUDGET
            assert figures.entries == len(self.kept)

    def _use(self, prompt: tuple[int, ...]) -> None:
        place = [tokens for tokens, _ in self.kept].index(prompt)
        self.kept.append(self.kept.pop(place))


TestPrefixes = Prefixes.TestCase
TestPrefixes.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)


def test_the_least_recently_used_goes_first() -> None:
    model = random_model("qwen3")
    prompts = [tuple(words(seed, 20)) for seed in range(1, 5)]
    size = nbytes(read(model, prompts[0]))
    cache = PrefixCache(model, 3 * size)
    for prompt in prompts[:3]:
        cache.keep(prompt, read(model, prompt))
    assert cache.take([*prompts[0], 9])[1] == 20  # used again
    cache.keep(prompts[3], read(model, prompts[3]))
    assert [cache.knows([*prompt, 9]) for prompt in prompts] == [20, 0, 20, 20]
    cache.keep(words(9, 800), read(model, words(9, 800)))
    assert cache.figures().entries == 3, "what is greater than the budget is not kept"


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_are_the_same_with_and_without_prefixes(kind: str) -> None:
    model = random_model(kind)
    system = words(2, 3 * WINDOW)

    def talk(prefix_bytes: int) -> list[tuple[list[int], int]]:
        limits = Limits(prefill_chunk_tokens=32, cache_bytes=1 << 34, prefix_bytes=prefix_bytes)
        told = []
        with engine_of(model, limits) as engine:
            for topic in (3, 4):
                conversation = [*system, *words(topic, 9)]
                for _ in range(3):
                    asked = _with_boundary(engine, conversation, len(system))
                    told.append((asked.tokens, asked.finish.reused_tokens))
                    conversation += [*asked.tokens, *words(len(conversation), 5)]
            for _ in range(2):  # the same again
                asked = _with_boundary(engine, conversation, len(system))
                told.append((asked.tokens, asked.finish.reused_tokens))
        return told

    cold, warm = talk(0), talk(1 << 26)
    assert [tokens for tokens, _ in warm] == [tokens for tokens, _ in cold]
    assert [reused for _, reused in cold] == [0] * 8
    reused = [count for _, count in warm]
    if kind == "llama4_text":
        assert reused[0] == 0
        return
    lengths = [len(system) + 9 + 10 * turn + 5 * turn for turn in range(4)]
    assert reused[0] == 0
    assert reused[1] >= lengths[0] - 1
    assert reused[2] >= lengths[1] - 1
    assert reused[3] >= len(system), "another conversation with the same beginning"
    assert reused[7] == lengths[3] - 1, "of the very same prompt one token is left"


def _with_boundary(engine: Any, conversation: list[int], boundary: int) -> Asked:
    from dataclasses import replace

    (asked,) = answers(engine, replace(prepared(conversation, 10), boundaries=(boundary,)))
    return asked


def test_what_is_kept_costs_nothing_until_it_is_changed() -> None:
    model = random_model("qwen3")
    layers = read(model, WORDS)
    held_bytes = mx.get_active_memory()
    twin = read(model, (), shared(layers))
    assert mx.get_active_memory() - held_bytes < nbytes(layers) // 10
    read(model, [9, 9], twin)
    read(model, [7, 7], layers)
    assert layers[0].offset == twin[0].offset == len(WORDS) + 2
    for changed, tokens in ((layers, [7, 7]), (twin, [9, 9])):
        expected = next_logits(model, fresh(model), [*WORDS, *tokens, 8])
        assert next_logits(model, changed, [8]) == pytest.approx(expected, abs=1e-3)


def test_a_common_prefix_of_concurrent_requests_is_prefilled_once() -> None:
    beginning = words(3, 400)
    limits = Limits(prefill_chunk_tokens=512, cache_bytes=1 << 34, prefix_bytes=1 << 26)
    with engine_of(random_model("qwen3"), limits) as engine:
        asked = answers(engine, *[prepared([*beginning, *words(seed, 3)]) for seed in range(4)])
    assert sum(one.finish.reused_tokens >= len(beginning) for one in asked) == 3


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_a_prompt_that_goes_on_from_a_running_one_changes_nothing_of_it(kind: str) -> None:
    model = random_model(kind)
    first, longer = words(1, 20), [*words(1, 20), *words(9, 20)]
    with engine_of(model) as engine:
        expected = [
            asked.tokens for asked in (*answers(engine, prepared(first, 200)), *answers(engine, prepared(longer)))
        ]
    with engine_of(model) as engine:
        (running,) = ask(engine, prepared(first, 200))
        while len(running.tokens) < 5:
            pass
        (other,) = answers(engine, prepared(longer))
        assert other.finish.reused_tokens == 19
        assert [running.wait().tokens, other.tokens] == expected


def test_a_prompt_that_goes_another_way_leaves_quantized_keys_and_values_as_they_are() -> None:
    model, beginning = random_model("wide"), words(1, 70)
    with engine_of(model) as engine:
        (answer,) = answers(engine, prepared(beginning, 40, kv_bits=8))
        onward = prepared([*beginning, *answer.tokens], 20, kv_bits=8)
        answers(engine, prepared([*beginning, *words(9, 30)], 20, kv_bits=8))
        (asked,) = answers(engine, onward)
        assert asked.finish.reused_tokens == 109
    with engine_of(model) as engine:
        assert answers(engine, onward)[0].tokens == asked.tokens
