"""Parts of prompts take about as long as the steps of running answers, whatever the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.pace import Pace

FIRST = 32
SMALLEST = 4
UNNOTICED = 0.01


@given(st.floats(1e-4, 1.0), st.floats(0, 0.8), st.floats(1e-6, 1e-1), st.sampled_from([128, 512, 2048]))
def test_parts_are_as_large_as_the_running_answers_allow(step: float, fixed: float, token: float, most: int) -> None:
    pace = Pace(most=most, first=FIRST)
    assert pace.part(step_seconds=None) == most
    assert pace.part(step_seconds=step) == 0, "first it is measured what a step takes"
    pace.ticked(step, 0)
    sizes = []
    for _ in range(60):
        size = pace.part(step_seconds=step)
        pace.ticked(step + fixed * step * bool(size) + size * token, size)
        if size:
            sizes.append(size)
    assert sizes[:2] == [FIRST // 2, FIRST]
    room = max(step, UNNOTICED) - fixed * step
    assert all(size <= max(SMALLEST, 1.01 * room / token) for size in sizes[12:])
    assert sizes[-1] >= min(most, max(SMALLEST, 0.3 * room / token))


@pytest.mark.parametrize("slower", [4, 20])
def test_parts_become_smaller_when_the_prompt_gets_longer(slower: int) -> None:
    pace = Pace(most=2048, first=FIRST)
    pace.ticked(0.02, 0)
    sizes = []
    for place in range(200):
        size = pace.part(step_seconds=0.02)
        pace.ticked(0.02 + size * 1e-5 * (slower if place > 100 else 1), size)
        sizes.append(size)
    assert max(sizes[:100]) >= (slower / 2) * max(sizes[160:])


def test_a_slow_step_is_left_alone_and_is_not_taken_for_the_usual() -> None:
    pace = Pace(most=512, first=FIRST)
    pace.ticked(0.01, 0)
    assert pace.part(step_seconds=0.01) == FIRST // 2
    assert pace.part(step_seconds=0.05) == 0
    pace.ticked(0.05, 0)
    assert pace.part(step_seconds=0.02) == 0, "one slow step made all slow steps usual"
    for _ in range(20):
        pace.ticked(0.05, 0)
    assert pace.part(step_seconds=0.05) == FIRST, "steps that stay slow are the usual ones"
