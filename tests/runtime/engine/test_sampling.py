"""Tokens are sampled from what filters and penalties leave, and depend on the sequence's own seed only."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.logits_processors import Penalties
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.sampling import Sampler, sample

LOGITS = mx.log(mx.array([[0.4, 0.3, 0.2, 0.06, 0.04]]))


def penalties_of(options: Options, tokens: list[int], *, answer_tokens: int = 0) -> Penalties | None:
    return Penalties.of(Prepared((1,), options), tokens, answer_tokens=answer_tokens)


def draw(logits: mx.array, *samplers: Sampler) -> list[int]:
    return sample(logits, samplers).tolist()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("options", "possible"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.6}, {0, 1}),
        ({"min_p": 0.4}, {0, 1, 2}),
        ({"top_p": 0.95, "top_k": 3, "min_p": 0.6}, {0, 1}),
        ({"top_p": 0.65, "top_k": 3}, {0, 1}),
        ({"top_p": 0.3}, {0}),
    ],
)
def test_filters_leave_the_likely_tokens(options: dict[str, Any], possible: set[int]) -> None:
    sampler = Sampler(Options(temperature=2.0, seed=1, **options))
    assert {draw(LOGITS, sampler)[0] for _ in range(300)} == possible


def test_tokens_come_as_often_as_they_should() -> None:
    samplers = [Sampler(Options(temperature=1.0, seed=seed)) for seed in range(4000)]
    drawn = draw(mx.broadcast_to(LOGITS, (len(samplers), 5)), *samplers)
    shares = [drawn.count(token) / len(drawn) for token in range(5)]
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.06, 0.04], abs=0.03)


KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_k": 3},
    {"temperature": 0.7, "top_p": 0.8, "top_k": 4},
    {"temperature": 2.0, "min_p": 0.05},
]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2**64 - 1)), min_size=1, max_size=9), st.integers(0, 99)
)
def test_a_sequence_samples_alike_whatever_is_beside_it(rows: list[tuple[dict[str, Any], int]], noise: int) -> None:
    logits = mx.random.normal((len(rows), 64), key=mx.random.key(noise))
    options = [Options(**kind, seed=seed) for kind, seed in rows]
    together = [Sampler(each) for each in options]
    alone = [Sampler(each) for each in options]
    for _ in range(3):
        expected = [draw(logits[row : row + 1], sampler)[0] for row, sampler in enumerate(alone)]
        assert draw(logits, *together) == expected


def test_a_seed_continues_at_any_place() -> None:
    whole, part = (Sampler(Options(temperature=1.0, seed=3)) for _ in range(2))
    drawn = [draw(LOGITS, whole)[0] for _ in range(20)]
    part.go_to(12)
    assert [draw(LOGITS, part)[0] for _ in range(8)] == drawn[12:]


def test_repetition_is_discouraged_as_in_mlx_lm() -> None:
    from mlx_lm.sample_utils import make_repetition_penalty

    logits = mx.array([[1.0, -1.0, 0.5, 3.0, 2.0]])
    past = [3, 1, 1, 4]
    for last in (1, 2, 4, 64, -1):
        penalties = penalties_of(Options(repeat_penalty=1.5, repeat_last_n=last), past)
        assert penalties is not None
        expected = make_repetition_penalty(1.5, len(past) if last < 0 else last)(mx.array(past), mx.array(logits))
        assert mx.allclose(penalties.applied(logits), expected)


def test_the_penalty_sees_the_answer_too() -> None:
    penalties = penalties_of(Options(repeat_penalty=10.0), [0])
    assert penalties is not None
    logits = mx.array([[0.1, 1.0, 0.9, 0.8, 0.7]])
    chosen = []
    for _ in range(4):
        token = mx.argmax(penalties.applied(logits), axis=-1)
        penalties.take(token)
        chosen.append(token.item())
    assert chosen == [1, 2, 3, 4]


def test_presence_and_frequency_count_in_the_whole_answer_and_not_in_the_prompt() -> None:
    logits = mx.zeros((1, 5))
    prompt, answer = [4] * 3, [1] * 100 + [2, 3, 3]
    options = Options(presence_penalty=0.5, frequency_penalty=0.25)
    penalties = penalties_of(options, [*prompt, *answer[:60]], answer_tokens=60)
    assert penalties is not None
    for token in answer[60:]:
        penalties.take(mx.array([token], dtype=mx.uint32))
    assert penalties.applied(logits).tolist() == [[0, -25.5, -0.75, -1.0, 0]]


def test_presence_and_frequency_can_count_in_the_recent_tokens_with_the_prompt() -> None:
    logits = mx.zeros((1, 5))
    tokens = [4, 1, 1, 2]  # the answer is the last one

    def told(last: int, *more: int) -> list[float]:
        options = Options(presence_penalty=0.5, frequency_penalty=0.25, repeat_last_n=last, counts_recent=True)
        penalties = penalties_of(options, tokens, answer_tokens=1)
        assert penalties is not None
        for token in more:
            penalties.take(mx.array([token], dtype=mx.uint32))
        return penalties.applied(logits).tolist()[0]  # type: ignore[no-any-return,index]

    assert told(-1) == [0, -1.0, -0.75, 0, -0.75]
    assert told(3) == [0, -1.0, -0.75, 0, 0]
    assert told(3, 3, 3) == [0, 0, -0.75, -1.0, 0]
    assert penalties_of(Options(presence_penalty=1, repeat_last_n=0, counts_recent=True), tokens) is None


def test_biases_move_tokens() -> None:
    penalties = penalties_of(Options(logit_bias={2: 100, 0: -100}), [1])
    assert penalties is not None
    assert penalties.applied(mx.zeros((1, 4))).tolist() == [[-100, 0, 100, 0]]
    assert penalties_of(Options(), [1]) is None
