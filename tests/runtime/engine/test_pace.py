"""Parts of prompts take no longer than the steps of running answers allow, whatever the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.pace import Pace, Portion

FIRST = 32
FEWEST = 4
UNNOTICED = 0.009
STEPS = 0.9
DEPTH = 12


def layers_of(portion: Portion) -> int:
    assert portion.size is not None
    return max(portion.size // portion.tokens, 1)


def read(pace: Pace, ticks: int, step: float, layer_seconds: Callable[[int], float]) -> list[Portion]:
    """What is read in so many ticks by a machine on which a layer takes so long for so many tokens."""
    portions = []
    for _ in range(ticks):
        portion = pace.portion(step)
        if portion is None:
            pace.ticked(step)
        else:
            portions.append(portion)
            layers = layers_of(portion)
            pace.ticked(step + layers * layer_seconds(portion.tokens), portion.tokens, layers)
    return portions


@given(st.floats(1e-4, 1.0), st.floats(0, 0.5), st.floats(1e-7, 1e-1), st.sampled_from([128, 512, 2048]))
def test_parts_are_as_large_as_the_running_answers_allow(step: float, fixed: float, token: float, most: int) -> None:
    bound = max(STEPS * step, UNNOTICED)

    def layer_seconds(tokens: int) -> float:
        return fixed * bound + tokens * token

    pace = Pace(most=most, depth=DEPTH)
    assert pace.portion(None) == Portion(most, most), "nobody waits"
    assert pace.portion(step) is None, "first it is measured what a step takes"
    pace.ticked(step)
    portions = read(pace, 120, step, layer_seconds)
    assert portions[0] == Portion(FIRST, FIRST // DEPTH, FIRST)
    for portion in portions[-20:]:
        layers = layers_of(portion)
        taken = layers * layer_seconds(portion.tokens)
        assert taken <= 1.12 * bound or (portion.tokens == FEWEST and layers == 1)
        assert taken >= 0.3 * bound or (portion.tokens == most and layers == DEPTH)
        assert portion.together * DEPTH * (layer_seconds(portion.tokens) / portion.tokens) <= 1.01 * bound


@pytest.mark.parametrize("slower", [4, 20])
def test_parts_become_smaller_when_the_prompt_gets_longer(slower: int) -> None:
    pace = Pace(most=2048, depth=1)
    pace.ticked(0.02)
    before = read(pace, 100, 0.02, lambda tokens: tokens * 1e-5)
    after = read(pace, 100, 0.02, lambda tokens: tokens * 1e-5 * slower)
    assert before[-1].tokens >= (slower / 2) * after[-1].tokens


def test_a_slow_step_is_left_alone_and_is_not_taken_for_the_usual() -> None:
    pace = Pace(most=512, depth=4)
    pace.ticked(0.01)
    assert pace.portion(0.01) is not None
    assert pace.portion(0.05) is None
    pace.ticked(0.05)
    assert pace.portion(0.024) is None, "one slow step made all slow steps usual"
    for _ in range(20):
        pace.ticked(0.05)
    assert pace.portion(0.05) is not None, "steps that stay slow are the usual ones"


def test_a_step_that_waits_for_what_was_read_is_not_slow_and_not_usual() -> None:
    pace = Pace(most=512, depth=4)
    pace.ticked(0.02)
    for _ in range(30):
        assert pace.portion(0.02) is not None
        pace.ticked(0.036, 32, 1)
        assert pace.portion(0.036) is not None, "it was slow because it waited"
        pace.ticked(0.036)
    assert pace.portion(0.05) is None


def test_now_and_then_it_is_measured_again_how_long_a_step_takes() -> None:
    pace = Pace(most=512, depth=4)
    pace.ticked(0.1)
    assert len(read(pace, 1000, 0.02, lambda tokens: tokens * 1e-4)) < 1000
    assert pace.portion(0.1) is None, "steps have become five times as fast, and nobody noticed"


def test_that_rows_join_is_not_taken_for_reading() -> None:
    pace = Pace(most=512, depth=4)
    pace.ticked(0.002)
    pace.read_alone(256, 4, 0.0072)
    expected = pace.portion(0.002)
    assert expected == Portion(FIRST, 320, 1280)
    for _ in range(20):
        pace.ticked(0.02, 20, 4, joined=True)
        pace.ticked(0.02, 20, 1)
    assert pace.portion(0.002) == expected
