"""An answer is the same as alone, whatever runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.sequence import Deliver
from mlxbuild.runtime.protocol.events import Event
from tests.runtime.engine.questions import PLENTY, Asked, answers, engine_of, prepared, words
from tests.runtime.engine.random_models import KINDS, random_model

LENGTHS = (1, 2, 5, 19, 33, 70, 64, 3)
NO_PREFIXES = Limits(prefill_chunk_tokens=64, cache_bytes=1 << 34, prefix_bytes=0)


def reference(model: Any, tokens: list[int], count: int) -> list[int]:
    """Greedy decoding with the model alone, without a KV cache."""
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(int(mx.argmax(model(mx.array([tokens]))[0, -1]).item()))
    return tokens[-count:]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_answers_in_a_batch_as_alone(kind: str) -> None:
    model = random_model(kind)
    prompts = [words(seed, length) for seed, length in enumerate(LENGTHS, 1)]
    requests = [prepared(prompt, 6 + 3 * place) for place, prompt in enumerate(prompts)]
    with engine_of(model, NO_PREFIXES) as engine:
        alone = [answers(engine, request)[0].tokens for request in requests]
        together = [asked.tokens for asked in answers(engine, *requests)]
    assert together == alone
    for prompt, tokens in zip(prompts, alone, strict=True):
        assert tokens == reference(model, prompt, len(tokens))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.05, "repeat_penalty": 1.2},
    {"repeat_penalty": 1.5, "repeat_last_n": 8},
    {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"presence_penalty": 1.0, "frequency_penalty": 0.5, "counts_recent": True, "repeat_last_n": 8},
    {"logit_bias": {9: 30}},
    {"temperature": 1.0, "logprobs": True, "top_logprobs": 3},
]
requests = st.builds(
    lambda seed, length, limit, options: prepared(words(seed, length), limit, seed=seed, **options),
    st.integers(1, 40),
    st.integers(1, 90),
    st.integers(1, 20),
    st.sampled_from(OPTIONS),
)


@settings(max_examples=6, deadline=None)
@given(st.lists(requests, min_size=2, max_size=9), st.sampled_from(["qwen3", "qwen3_next", "gemma3_text"]))
def test_any_mixture_of_requests_gives_each_its_own_answer(mixture: list[Prepared], kind: str) -> None:
    with engine_of(random_model(kind)) as engine:
        together = [asked.tokens for asked in answers(engine, *mixture)]
    with engine_of(random_model(kind), NO_PREFIXES) as engine:
        alone = [answers(engine, request)[0].tokens for request in mixture]
    assert together == alone


def test_scores_are_those_of_the_model() -> None:
    model, prompt = random_model("qwen3"), words(3, 20)
    silent = prepared(words(4, 9), 9)
    scored = prepared(prompt, 5, logprobs=True, top_logprobs=4)
    barely = prepared(words(5, 2), 5, logprobs=True)
    with engine_of(model) as engine:
        _, asked, other = answers(engine, silent, scored, barely)
    logits = model(mx.array([[*prompt, *asked.tokens]]))[0]
    chunks = [event for event in asked.events if getattr(event, "token", None) is not None]
    for place, chunk in enumerate(chunks, len(prompt) - 1):
        logprobs: Any = (logits[place] - mx.logsumexp(logits[place])).tolist()
        assert chunk.score.logprob == pytest.approx(logprobs[chunk.token], abs=1e-4)  # type: ignore[union-attr]
        best = sorted(range(len(logprobs)), key=lambda token: -logprobs[token])[:4]
        assert [each.token for each in chunk.alternatives] == best  # type: ignore[union-attr]
        assert chunk.alternatives[0] == chunk.score  # type: ignore[union-attr]
    assert all(not event.alternatives and event.score for event in other.events if getattr(event, "token", None))  # type: ignore[union-attr]


def test_requests_beyond_the_limit_of_sequences_wait_in_order() -> None:
    limits = Limits(max_sequences=2, prefill_chunk_tokens=64, cache_bytes=1 << 34, prefix_bytes=0)
    requests = [prepared(words(n, 5), 4) for n in range(6)]
    begun: list[int] = []

    def taker(number: int, asked: Asked) -> Deliver:
        def take(events: Sequence[Event]) -> None:
            if not asked.events:
                begun.append(number)
            asked.take(events)

        return take

    with engine_of(random_model("qwen3"), limits) as engine:
        expected = [answers(engine, request)[0].tokens for request in requests]
        asked = [Asked() for _ in requests]
        for number, (request, one) in enumerate(zip(requests, asked, strict=True)):
            engine.submit(request, taker(number, one))
        assert [one.wait().tokens for one in asked] == expected
        figures = engine.run(engine.statistics).result()
    assert begun == sorted(begun)
    assert (figures.running, figures.waiting, figures.answer_tokens) == (0, 0, 48)


def test_progress_is_told_while_a_prompt_is_read() -> None:
    with engine_of(random_model("qwen3"), PLENTY) as engine:
        (asked,) = answers(engine, prepared(words(1, 200), 2))
    assert [each.done_tokens for each in asked.progress] == [64, 128, 192, 199]
    assert {each.total_tokens for each in asked.progress} == {200}


def test_a_long_sequence_beside_short_ones_has_its_own_batch_and_the_same_answer() -> None:
    requests = [prepared(words(1, 1500), 20), *[prepared(words(seed, 9), 30) for seed in (2, 3, 4)]]
    with engine_of(random_model("qwen3"), NO_PREFIXES) as engine:
        expected = [answers(engine, request)[0].tokens for request in requests]
        assert [asked.tokens for asked in answers(engine, *requests)] == expected
        assert [asked.tokens for asked in answers(engine, *reversed(requests))] == expected[::-1]
