"""Requests that are cancelled or fail, and failing iterations: others go on, and every failure is reported."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.batching import EVERYTHING
from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.protocol.events import Event
from tests.runtime.engine.questions import PLENTY, TOKENIZER, Asked, answers, ask, engine_of, prepared, words
from tests.runtime.engine.random_models import random_model


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 150), st.integers(1, 30), st.integers(0, 40)), min_size=1, max_size=5),
    st.sampled_from(["qwen3", "lfm2"]),
)
def test_leaving_at_any_moment_changes_nothing_for_others(leavers: list[tuple[int, int, int]], kind: str) -> None:
    staying = [prepared(words(seed, 10 * seed), 25) for seed in (1, 2, 9)]
    with engine_of(random_model(kind)) as engine:
        expected = [answers(engine, request)[0].tokens for request in staying]
        asked = ask(engine, *staying[:2])
        leaving = [
            _leave_after(engine, prepared(words(length, length), limit), events) for length, limit, events in leavers
        ]
        asked += ask(engine, staying[2])
        assert [one.wait().tokens for one in asked] == expected
        for one in leaving:
            engine.cancel(one.ticket)
        figures = engine.run(engine.statistics).result()
    assert (figures.running, figures.waiting, figures.failures) == (0, 0, 0)


def _leave_after(engine: Engine, request: Prepared, count: int) -> Asked:
    """Cancel a request while its events are delivered, in the middle of an iteration."""
    asked = Asked()

    def take(events: Sequence[Event]) -> None:
        asked.take(events)
        if len(asked.events) >= count:
            engine.cancel(asked.ticket)

    asked.ticket = engine.submit(request, take)
    if not count:
        engine.cancel(asked.ticket)
    return asked


def test_it_is_known_when_requests_last_got_on() -> None:
    with engine_of(random_model("qwen3")) as engine:
        moments = [engine.statistics().progressed_at]
        engine.run(lambda: None).result()
        moments.append(engine.statistics().progressed_at)
        answers(engine, prepared(words(1, 5), 10))
        moments.append(engine.run(engine.statistics).result().progressed_at)
    assert moments == sorted(set(moments))


def test_nothing_comes_after_leaving() -> None:
    with engine_of(random_model("qwen3")) as engine:
        (asked,) = ask(engine, prepared(words(1, 5), None))
        while not asked.tokens:
            pass
        engine.cancel(asked.ticket)
        engine.run(lambda: None).result()
        told = len(asked.events)
        answers(engine, prepared(words(2, 5), 10))
        assert len(asked.events) == told
        assert not asked.over.is_set()


def test_a_failing_delivery_ends_its_own_request_only() -> None:
    def refuse(_: Sequence[Event]) -> None:
        raise ConnectionError("nobody listens")

    with engine_of(random_model("qwen3")) as engine:
        expected = answers(engine, prepared(words(1, 5)))[0].tokens
        engine.submit(prepared(words(2, 5), None), refuse)
        assert answers(engine, prepared(words(1, 5)))[0].tokens == expected
        figures = engine.run(engine.statistics).result()
    assert figures.running == 0


class OnlyToken:
    """A constraint that always allows the same token, and fails after some steps."""

    def __init__(self, token: int, steps: int = 1 << 30) -> None:
        self.token = token
        self.steps = steps
        self.advanced: list[int] = []

    def mask(self, logits: mx.array) -> mx.array:
        if len(self.advanced) == self.steps:
            raise ValueError("a dead end")
        return mx.where(mx.arange(logits.shape[-1]) == self.token, logits, -mx.inf)

    def advance(self, token: int) -> None:
        self.advanced.append(token)


def test_a_constraint_applies_to_its_sequence_only() -> None:
    held = OnlyToken(40)
    request = Prepared(tuple(words(1, 9)), Options(temperature=1.0), limit=8, constraint=held)
    free = [prepared(words(2, 30), 20), prepared(words(3, 3), 20, temperature=1.0, seed=4)]
    with engine_of(random_model("qwen3")) as engine:
        expected = [answers(engine, each)[0].tokens for each in free]
        constrained, *others = answers(engine, request, *free)
    assert constrained.tokens == [40] * 8
    assert held.advanced[:7] == [40] * 7
    assert [each.tokens for each in others] == expected


def test_a_failing_constraint_fails_its_sequence_only() -> None:
    request = Prepared(tuple(words(1, 9)), limit=20, constraint=OnlyToken(40, steps=3))
    with engine_of(random_model("qwen3")) as engine:
        expected = answers(engine, prepared(words(2, 30), 20))[0].tokens
        failing, other = answers(engine, request, prepared(words(2, 30), 20))
        assert other.tokens == expected
        assert engine.statistics().failures == 0
    assert (failing.failure.code, failing.failure.message) == ("unexpected", "ValueError: a dead end")


class Broken:
    """A model that fails on demand."""

    def __init__(self) -> None:
        self._model = random_model("qwen3")
        self.layers = self._model.layers
        self.fails = False

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        if self.fails:
            raise RuntimeError("[metal::malloc] something else")
        logits: mx.array = self._model(tokens, cache=cache)
        return logits


def test_a_failing_iteration_fails_its_requests_and_the_next_is_sound() -> None:
    model = Broken()
    with engine_of(model, batching=EVERYTHING) as engine:
        expected = answers(engine, prepared(words(1, 9)))[0].tokens
        asked = ask(engine, prepared(words(2, 9), None), prepared(words(3, 9), None))
        while not all(one.tokens for one in asked):
            pass
        model.fails = True
        failures = [one.wait().failure for one in asked]
        model.fails = False
        assert {failure.code for failure in failures} == {"engine-failed"}
        assert answers(engine, prepared(words(1, 9)))[0].tokens == expected
        assert engine.ended is None
        model.fails = True
        for _ in range(2):
            assert answers(engine, prepared(words(1, 9)))[0].failure.code == "engine-failed"
        while engine.ended is None:
            pass
        assert "twice in a row: [metal::malloc] something else" in engine.ended.message
        with pytest.raises(EngineEnded):
            engine.submit(prepared([9]), lambda _: None)
        with pytest.raises(EngineEnded):
            engine.run(lambda: None)


def test_closing_fails_what_is_on_its_way() -> None:
    with engine_of(random_model("qwen3")) as engine:
        running, waiting = ask(engine, prepared(words(1, 9), None), prepared(words(2, 9), None))
        engine.close()
        assert {running.wait().failure.code, waiting.wait().failure.code} == {"engine-ended"}


def test_an_engine_that_nobody_has_ends() -> None:
    gc.collect()  # engines of other tests
    before = threading.active_count()
    engine = Engine(random_model("qwen3"), TOKENIZER, PLENTY)
    answers(engine, prepared(words(1, 9)))
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert threading.active_count() == before


def test_work_between_iterations_is_done_on_the_engine_s_thread() -> None:
    with engine_of(random_model("qwen3")) as engine:
        (asked,) = ask(engine, prepared(words(1, 9), None))
        assert engine.run(lambda: threading.current_thread().name).result() == "engine"
        with pytest.raises(ZeroDivisionError):
            engine.run(lambda: 1 // 0).result()
        engine.cancel(asked.ticket)


def test_a_prompt_that_can_never_fit_is_refused_and_an_answer_ends_where_memory_does() -> None:
    model = random_model("qwen3")
    bytes_for_512_tokens = 2 * 2 * 2 * 16 * 4 * 512  # layers, keys and values, heads, their size, float32
    limits = Limits(prefill_chunk_tokens=64, cache_bytes=bytes_for_512_tokens, prefix_bytes=0)
    with engine_of(model, limits) as engine:
        refused, cut = answers(engine, prepared(words(1, 512)), prepared(words(2, 500), None))
        assert refused.failure.code == "memory-too-small"
        assert "512 tokens" in refused.failure.message
        assert (cut.finish.reason, cut.finish.answer_tokens) == ("length", 12)


def test_answers_that_outgrow_memory_wait_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxbuild.runtime.engine.core.kv_budget.EXPECTED_ANSWER_TOKENS", 8)
    model = random_model("qwen3")
    bytes_for_512_tokens = 2 * 2 * 2 * 16 * 4 * 512
    requests = [
        Prepared(tuple(words(seed, 100)), Options(temperature=1.0, seed=seed, frequency_penalty=0.5), limit=250)
        for seed in range(2)
    ]
    with engine_of(model) as engine:
        expected = [answers(engine, request)[0].tokens for request in requests]
    limits = Limits(prefill_chunk_tokens=64, cache_bytes=bytes_for_512_tokens, prefix_bytes=1 << 22)
    with engine_of(model, limits) as engine:
        asked = answers(engine, *requests)
        figures = engine.run(engine.statistics).result()
    assert [one.tokens for one in asked] == expected
    assert figures.postponed > 0
    assert [one.finish.prompt_tokens for one in asked] == [100, 100]
