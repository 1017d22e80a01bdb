"""Chunks take no longer than the decode steps of running answers allow, on any machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.prefill_budget import PrefillBudget, PrefillChunk

FIRST = 32
FEWEST = 4
UNNOTICED = 0.009
BEARABLE = 0.2
STEPS = 0.9


def paced(step: float, most: int = 512) -> PrefillBudget:
    prefill_budget = PrefillBudget(most=most)
    prefill_budget.stepped(step)
    return prefill_budget


def layers_of(chunk: PrefillChunk) -> int:
    assert chunk.layers is not None
    return chunk.layers(chunk.tokens)


@dataclass(frozen=True)
class Read:
    """The chunk computed in one iteration."""

    tokens: int
    layers: int
    seconds: float
    is_measured: bool

    @property
    def size(self) -> int:
        return self.tokens * self.layers


def read(
    prefill_budget: PrefillBudget,
    iterations: int,
    step: float,
    layer_seconds: Callable[[int], float],
    *,
    running: int = 1,
    waiting: int = 1,
) -> list[Read]:
    """The chunks of so many iterations on a simulated machine; `layer_seconds` is the time of a layer by tokens."""
    parts = []
    for _ in range(iterations):
        chunk = prefill_budget.chunk(running, waiting)
        if chunk is not None:
            tokens, layers = chunk.tokens, layers_of(chunk)
            seconds = layers * layer_seconds(tokens)
            parts.append(Read(tokens, layers, seconds, chunk.is_measured))
            if chunk.is_measured:
                prefill_budget.prefilled(tokens, layers, seconds)
        prefill_budget.stepped(step)
    return parts


@given(st.floats(1e-4, 1.0), st.floats(0, 0.5), st.floats(1e-7, 1e-1), st.sampled_from([128, 512, 2048]))
def test_chunks_are_as_large_as_the_running_answers_allow(step: float, fixed: float, token: float, most: int) -> None:
    bound = max(STEPS * step, UNNOTICED)

    def layer_seconds(tokens: int) -> float:
        return fixed * bound + tokens * token

    prefill_budget = PrefillBudget(most=most)
    assert prefill_budget.chunk(0, 1) == PrefillChunk(most), "nobody waits"
    assert prefill_budget.chunk(1, 1) is None, "first it is measured what a step takes"
    prefill_budget.stepped(step)
    parts = read(prefill_budget, 200, step, layer_seconds)
    assert (parts[0].tokens, parts[0].layers) == (FIRST, 1)
    for part in parts[-20:]:
        assert part.seconds <= 1.12 * bound or (part.tokens == FEWEST and part.layers == 1)
        assert part.seconds >= 0.3 * bound or part.tokens == most


@given(st.integers(1, 4), st.integers(0, 12), st.floats(1e-3, 1.0))
def test_the_budget_grows_where_more_requests_wait_than_run(running: int, more: int, step: float) -> None:
    def layer_seconds(tokens: int) -> float:
        return tokens * 1e-6

    prefill_budget = paced(step)
    part = read(prefill_budget, 100, step, layer_seconds, running=running, waiting=running + more)[-1]
    usual = STEPS * step
    bound = max(usual, UNNOTICED, min(usual * (running + more) / running, max(BEARABLE, 2 * step)))
    assert 0.5 * bound <= part.seconds <= 1.01 * bound


@pytest.mark.parametrize("slower", [4, 20])
def test_chunks_become_smaller_when_the_prompt_gets_longer(slower: int) -> None:
    prefill_budget = paced(0.02, most=2048)
    before = read(prefill_budget, 100, 0.02, lambda tokens: tokens * 1e-5)[-1]
    after = read(prefill_budget, 200, 0.02, lambda tokens: tokens * 1e-5 * slower)[-1]
    assert before.size >= (slower / 2) * after.size


def test_a_chunk_computed_alone_tells_the_size_of_chunks_beside_answers() -> None:
    prefill_budget = PrefillBudget(most=512)
    prefill_budget.prefilled(46, 29, 46 * 29 * 1e-4)
    prefill_budget.stepped(0.05)
    chunk = prefill_budget.chunk(1, 1)
    assert chunk is not None
    assert 0.5 * STEPS * 0.05 <= chunk.tokens * layers_of(chunk) * 1e-4 <= 1.01 * STEPS * 0.05


def test_a_growing_batch_is_not_taken_for_prefill() -> None:
    prefill_budget = paced(0.05)
    before = read(prefill_budget, 60, 0.05, lambda tokens: tokens * 1e-4)[-1]
    after = read(prefill_budget, 1, 0.4, lambda tokens: tokens * 1e-4, running=8)
    after += read(prefill_budget, 8, 0.4, lambda tokens: tokens * 1e-4, running=8)
    assert all(part.size >= before.size for part in after)


def test_after_a_slow_step_prefill_is_skipped_and_it_is_not_taken_for_the_usual() -> None:
    prefill_budget = paced(0.01)
    assert prefill_budget.chunk(1, 1) is not None
    prefill_budget.stepped(0.05)
    assert prefill_budget.chunk(1, 1) is None
    assert prefill_budget.chunk(1, 1) is not None, "who waits was left alone for good"
    prefill_budget.stepped(0.024)
    assert prefill_budget.chunk(1, 1) is None, "one slow step made all slow steps usual"
    prefill_budget.stepped(0.05)
    assert prefill_budget.chunk(1, 2) is not None, "more wait than are answered"
    for _ in range(20):
        prefill_budget.stepped(0.05)
    assert prefill_budget.chunk(1, 1) is not None, "steps that stay slow are the usual ones"


def test_one_slow_chunk_changes_little() -> None:
    prefill_budget = paced(0.05)
    before = read(prefill_budget, 60, 0.05, lambda tokens: tokens * 1e-4)[-1]
    prefill_budget.prefilled(before.tokens, 1, 10.0)
    after = prefill_budget.chunk(1, 1)
    assert after is not None
    assert 2 * after.tokens * layers_of(after) >= before.size


def test_not_every_chunk_is_measured() -> None:
    parts = read(paced(0.05), 100, 0.05, lambda tokens: tokens * 1e-4)
    assert all(part.is_measured for part in parts[:4])
    assert 20 <= sum(part.is_measured for part in parts) <= 40
