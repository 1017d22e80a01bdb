"""Parts of prompts take about as long as the steps of running answers, whatever the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.pace import Pace

FIRST = 32
SMALLEST = 8


@given(st.floats(1e-4, 1.0), st.floats(0, 1.2), st.floats(1e-6, 1e-1), st.sampled_from([128, 512, 2048]))
def test_parts_are_as_large_as_the_running_answers_allow(step: float, fixed: float, token: float, most: int) -> None:
    pace = Pace(most)
    assert pace.part_tokens(answers_are_running=False) == most
    assert pace.part_tokens(answers_are_running=True) == 0, "first it is measured what a step takes"
    pace.ticked(step, 0)
    sizes = []
    for _ in range(60):
        size = pace.part_tokens(answers_are_running=True)
        pace.ticked(step + fixed * step * bool(size) + size * token, size)
        if size:
            sizes.append(size)
    assert sizes[0] == FIRST
    room = 1.5 * step - fixed * step
    assert all(size <= max(SMALLEST, 1.01 * room / token) for size in sizes[12:])
    assert sizes[-1] >= min(most, max(SMALLEST, 0.3 * room / token))


@pytest.mark.parametrize("slower", [4, 20])
def test_parts_become_smaller_when_the_prompt_gets_longer(slower: int) -> None:
    pace = Pace(2048)
    pace.ticked(0.02, 0)
    sizes = []
    for place in range(200):
        size = pace.part_tokens(answers_are_running=True)
        pace.ticked(0.02 + size * 1e-5 * (slower if place > 100 else 1), size)
        sizes.append(size)
    assert max(sizes[:100]) >= (slower / 2) * max(sizes[160:])
