"""Every architecture of the installed mlx-lm, from a tiny random model to its answers, held to mlx-lm itself.

`make sweep` takes all of them, other tests twenty that differ most.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.engine.core.batching import Batching
from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.runtime.model.load import load_weights
from tests.runtime.engine.questions import Asked, answers, ask, engine_of, prepared
from tests.sweep.architectures import NOT_HERE, VOCABULARY, names, tiny_config, write_weights
from tests.toolchain.weights.block_builds import INT4, NONE, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_same, reference

ALL = bool(os.environ.get("MLXBUILD_SWEEP"))
TWENTY = (
    "afm7", "baichuan_m1", "deepseek_v32", "deepseek_v41", "falcon_h1", "gemma2", "gemma3n", "gemma4", "gpt_bigcode",
    "gpt_oss", "jamba", "kimi_linear", "llama", "llama4", "longcat_flash_ngram", "minimax_m3_vl", "mixtral",
    "nemotron_h", "plamo3", "qwen3_next",
)  # fmt: skip
RUN = [name for name in (names() if ALL else TWENTY) if name not in NOT_HERE]
LENGTHS = (1, 45, 17, 28)
LIMIT = 8
"""Tokens of an answer."""
LIMITS = Limits(prefill_chunk_tokens=64, cache_bytes=1 << 30, prefix_bytes=1 << 26)
LOGPROB_ERROR = 2e-3

ALONE = Batching(joins=False, joins_empty=False, prefills_together=False)
PROMPTS_ALONE = Batching(prefills_together=False)
KNOWN = {
    **dict.fromkeys(("afm7", "deepseek_v41", "gemma2", "gpt_bigcode", "llama4"), ALONE),
    **dict.fromkeys(("longcat_flash_ngram", "minimax_m3_vl"), ALONE),
    **dict.fromkeys(("baichuan_m1", "bailing_moe_linear", "jamba", "mamba"), PROMPTS_ALONE),
    **dict.fromkeys(("nemotron_h", "olmo_hybrid", "rwkv7"), PROMPTS_ALONE),
    "recurrent_gemma": Batching(joins_empty=False, prefills_together=False),
    "phi3small": Batching(joins=False, joins_empty=False, prefills_together=False, prefills_in_chunks=False),
    "plamo3": Batching(prefills_in_chunks=False),
}
"""What mlx-lm 0.32.2 computes otherwise in a batch; the engine finds it out by itself."""


NOT_QUANTIZED = ("afm7",)
"""mlx-lm fails to quantize those; `create` refuses it."""


def prompt(seed: int, count: int) -> list[int]:
    return [(seed * 7919 + place * (seed % 13 + 1) * 31) % (VOCABULARY - 1) + 1 for place in range(count)]


def greedy(engine: Engine, model: Any, tokens: Sequence[int], count: int = LIMIT) -> list[tuple[int, float]]:
    """What mlx-lm itself answers, with log-probabilities; on the engine's thread, as models may keep arrays of it."""
    step = partial(submodule("generate").generate_step, max_tokens=count)

    def work() -> list[tuple[int, float]]:
        return [(int(token), float(scores[token].item())) for token, scores in step(mx.array(list(tokens)), model)]

    return engine.run(work).result()


def told(asked: Asked) -> list[tuple[int, float]]:
    failed = asked.events[-1]
    assert not hasattr(failed, "code"), failed
    chunks: Iterator[Any] = (event for event in asked.events if getattr(event, "token", None) is not None)
    return [(chunk.token, chunk.score.logprob) for chunk in chunks]


def assert_equal(mine: list[tuple[int, float]], expected: list[tuple[int, float]], way: str) -> None:
    assert [token for token, _ in mine] == [token for token, _ in expected], way
    worst = max(abs(one - other) for (_, one), (_, other) in zip(mine, expected, strict=True))
    assert worst < LOGPROB_ERROR, f"{way}: log-probabilities differ by {worst:.3g}"


def test_every_architecture_is_swept_or_has_a_reason_why_not() -> None:
    assert set(TWENTY) <= set(names())
    assert set(NOT_HERE) <= set(names())
    assert len(names()) > 120


@pytest.mark.parametrize("name", RUN)
def test_an_architecture(name: str, store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_weights(source, tiny_config(name))
    quantizations = (NONE,) if name in NOT_QUANTIZED else (NONE, INT4)
    for quantization in quantizations:
        built = BlockBuild(store, source, variant(source, quantization)).assemble(tmp_path / quantization.label)
        assert_same(built, reference(source, quantization.scheme)[0])
    for quantization in quantizations if ALL else (NONE,):
        memory_bytes = 0 if quantization is INT4 else None  # with which they stay quantized
        model = load_weights(tmp_path / quantization.label, memory_bytes=memory_bytes).model
        with engine_of(model, LIMITS) as engine:
            assert engine.batching == KNOWN.get(name, Batching())
            _assert_answers(engine, model)


def _assert_answers(engine: Engine, model: Any) -> None:
    prompts = [prompt(seed, length) for seed, length in enumerate(LENGTHS, 1)]
    expected = [greedy(engine, model, each) for each in prompts]
    asked = partial(prepared, limit=LIMIT, logprobs=True)
    requests = [asked(each) for each in prompts]
    for request, right in zip(requests, expected, strict=True):
        assert_equal(told(answers(engine, request)[0]), right, "alone")
    for mine, right in zip(answers(engine, *requests), expected, strict=True):
        assert_equal(told(mine), right, "together, with beginnings that are known")
    others = [prompt(seed, length) for seed, length in enumerate(LENGTHS, 11)]
    for mine, tokens in zip(answers(engine, *map(asked, others)), others, strict=True):
        assert_equal(told(mine), greedy(engine, model, tokens), "together")
    _assert_joining(engine, model)
    longer = [*prompts[1], *(token for token, _ in expected[1]), *prompt(9, 11)]
    assert_equal(
        told(answers(engine, asked(longer))[0]), greedy(engine, model, longer), "with what is known of a prefix"
    )
    forked = [*prompts[1][:-9], *prompt(8, 9)]
    assert_equal(
        told(answers(engine, asked(forked))[0]), greedy(engine, model, forked), "with a beginning of what is known"
    )
    engine.compile_steps().result()
    assert_equal(told(answers(engine, requests[2])[0]), expected[2], "in compiled steps")


def _assert_joining(engine: Engine, model: Any) -> None:
    """Requests that come while another is answered."""
    first, second, third, fourth = prompt(21, 6), prompt(22, 31), prompt(23, 2), prompt(24, 1)
    running = ask(engine, prepared(first, 40, logprobs=True))[0]
    while len(running.events) < 4 and not running.over.is_set():
        running.over.wait(0.001)
    others = ask(engine, *(prepared(each, LIMIT, logprobs=True) for each in (second, third, fourth)))
    assert_equal(told(running.wait()), greedy(engine, model, first, 40), "joined by others")
    for mine, tokens in zip(others, (second, third, fourth), strict=True):
        assert_equal(told(mine.wait()), greedy(engine, model, tokens), "joining")
