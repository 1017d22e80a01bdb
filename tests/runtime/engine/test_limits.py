"""Memory limits that change while an engine works."""

from __future__ import annotations

import pytest

from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.kv_budget import KVBudget
from mlxbuild.runtime.engine.core.loop import EngineEnded
from tests.runtime.engine.questions import PLENTY, answers, ask, engine_of, prepared, words
from tests.runtime.engine.random_models import random_model


def prefix_bytes(engine: Engine) -> int:
    return engine.run(engine.statistics).result().prefixes.size_bytes


def test_a_prefix_cache_keeps_to_what_it_may_take_now() -> None:
    with engine_of(random_model("qwen3")) as engine:
        answers(engine, *[prepared(words(seed, 300)) for seed in range(1, 6)])
        full_bytes = prefix_bytes(engine)
        engine.limit(1 << 34, full_bytes // 2)
        assert 0 < prefix_bytes(engine) <= full_bytes // 2
        engine.limit(1 << 34, 0)
        assert prefix_bytes(engine) == 0
        answers(engine, prepared(words(1, 300)))
        assert prefix_bytes(engine) == 0
        engine.limit(1 << 40, 1 << 40)
        answers(engine, *[prepared(words(seed, 300)) for seed in range(1, 6)])
        assert prefix_bytes(engine) > full_bytes // 2
    with pytest.raises(EngineEnded):
        engine.limit(0, 0)


def test_what_runs_goes_on_and_what_comes_waits_or_is_refused() -> None:
    model = random_model("qwen3")
    requests = [prepared(words(seed, 40), 200) for seed in range(1, 5)]
    with engine_of(model, PLENTY) as engine:
        expected = [asked.tokens for asked in answers(engine, *requests)]
    with engine_of(model, PLENTY) as engine:
        running = ask(engine, *requests)
        while not all(len(asked.tokens) > 5 for asked in running):
            pass
        engine.limit(KVBudget(model).kv_cache_size.bytes_for(256), 0)
        (refused,) = answers(engine, prepared(words(9, 400)))
        assert refused.failure.code == "memory-too-small"
        assert [asked.wait().tokens for asked in running] == expected
        assert engine.run(engine.statistics).result().postponed > 0
