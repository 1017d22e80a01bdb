"""The trial finds what may be computed together, and names what cannot be computed."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.runtime.engine.core.batch import Batch
from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.comparison import NeedsMetal, NotComputable
from mlxbuild.runtime.engine.core.decode_step import DecodeStep
from mlxbuild.runtime.engine.core.kv_cache import fresh
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.engine.core.trial_pass import TrialPass
from tests.runtime.engine.questions import TOKENIZER, answers, ask, engine_of, prepared, words
from tests.runtime.engine.random_models import KINDS, PLAIN_CONFIG, random_model
from tests.sweep import architectures

SOUND = [*(kind for kind in KINDS if kind != "llama4_text"), *(kind for kind in PLAIN_CONFIG if kind != "gemma2")]


@pytest.mark.parametrize("kind", SOUND)
def test_ordinary_models_are_computed_together_in_every_way(kind: str) -> None:
    assert Batching.of(random_model(kind)) == EVERYTHING


def test_few_layers_are_tried_of_many_alike() -> None:
    assert TrialPass(random_model("deep")).depth == 2
    assert TrialPass(random_model("gemma3_text")).depth == 3, "the first of full attention is the last"


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("mamba", mx.float32, Batching(prefills_together=False)),
        ("mamba", mx.bfloat16, Batching(prefills_together=False)),
        ("gpt_bigcode", mx.float32, Batching(joins=False, joins_empty=False, prefills_together=False)),
        ("gemma2", mx.bfloat16, Batching(joins=False, joins_empty=False, prefills_together=False)),
        ("minimax_m3_vl", mx.float32, Batching(joins=False, joins_empty=False, prefills_together=False)),
        ("recurrent_gemma", mx.float32, Batching(joins_empty=False, prefills_together=False)),
        ("plamo3", mx.bfloat16, Batching(prefills_in_chunks=False)),
    ],
)
def test_what_differs_is_found(name: str, dtype: mx.Dtype, expected: Batching) -> None:
    model = architectures.random_model(architectures.tiny_config(name))
    model.set_dtype(dtype)
    mx.eval(model.parameters())
    assert Batching.of(model) == expected


class Unruly:
    """A model that uses its last KV cache first."""

    def __init__(self) -> None:
        self.model = random_model("deep")
        self.layers = self.model.layers

    def modules(self) -> list[Any]:
        return list(self.model.modules())

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        assert cache[-1].offset is not None
        logits: mx.array = self.model(tokens, cache=cache)
        return logits


def test_a_model_whose_passes_cannot_be_cut_short_is_tried_as_a_whole() -> None:
    assert TrialPass(Unruly()).depth == 2
    assert Batching.of(Unruly()) == EVERYTHING


def test_state_that_begins_otherwise_than_from_zeros_is_found_in_rounded_numbers() -> None:
    model = architectures.random_model(architectures.tiny_config("recurrent_gemma"))
    decays = [module for module in model.modules() if "recurrent_param" in module]
    for module in decays:
        module.recurrent_param = mx.full(module.recurrent_param.shape, -4.0)  # as trained ones: most of a state stays
    model.set_dtype(mx.bfloat16)
    mx.eval(model.parameters())
    assert decays
    assert not Batching.of(model).joins_empty


def test_a_prompt_of_one_token_gets_the_same_answer_beside_others() -> None:
    model = architectures.random_model(architectures.tiny_config("recurrent_gemma"))
    mx.eval(model.parameters())
    request = prepared([75], 4)
    with engine_of(model) as engine:
        (alone,) = answers(engine, request)
        (running,) = ask(engine, prepared(list(range(1, 13)), 60))
        while len(running.events) < 4 and not running.over.is_set():
            running.over.wait(0.001)
        twice = answers(engine, request, request)
        running.wait()
    assert [asked.tokens for asked in twice] == [alone.tokens] * 2


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "lfm2"])
def test_a_prompt_of_one_token_may_leave_before_its_first_step(kind: str) -> None:
    model = random_model(kind)
    rows = [SequenceState(prepared([token], 1), lambda _: None, TOKENIZER) for token in (9, 10, 11)]
    batch = Batch(DecodeStep(model))
    for row in rows:
        batch.join([row], fresh(model), is_merged=False)
    assert batch.leave(rows[:1], keeping=rows[:1]) == [], "nothing is known of it"
    batch.leave(rows[1:2])
    assert batch.step() == []
    (written,) = batch.step()
    assert written.token == mx.argmax(model(mx.array([[11]]))[0, -1]).item()


def test_requests_to_a_model_that_batches_nothing_wait_for_each_other() -> None:
    model = random_model("llama")
    with engine_of(model, batching=Batching(joins=False, joins_empty=False, prefills_together=False)) as engine:
        first, second = ask(engine, prepared(words(1, 9), 30), prepared(words(2, 9), 30))
        while not second.events:
            running = engine.statistics().running
            assert running <= 1 or first.over.is_set()
        assert first.over.is_set(), "the second began after the first"
        tokens = [first.wait().tokens, second.wait().tokens]
    with engine_of(model) as engine:
        assert [
            asked.tokens for asked in answers(engine, prepared(words(1, 9), 30), prepared(words(2, 9), 30))
        ] == tokens


def test_without_chunked_prefill_prompts_are_computed_as_mlx_lm_does_and_not_kept() -> None:
    limits = Limits(prefill_chunk_tokens=64, cache_bytes=1 << 34, prefix_bytes=1 << 26)
    with engine_of(random_model("llama"), limits, batching=Batching(prefills_in_chunks=False)) as engine:
        (asked,) = answers(engine, prepared(words(1, 200), 2))
        answers(engine, prepared(words(1, 200), 2))
        figures = engine.run(engine.statistics).result()
    assert [each.done_tokens for each in asked.progress] == [199]
    assert (figures.prefixes.entries, figures.reused_tokens) == (0, 0)


class Failing:
    """A model whose code fails."""

    def __init__(self, message: str) -> None:
        self.model = random_model("llama")
        self.layers = self.model.layers
        self.message = message

    def modules(self) -> list[Any]:
        return list(self.model.modules())

    def __call__(self, tokens: mx.array, cache: Any) -> mx.array:
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("[metal_kernel] No Metal back-end.", NeedsMetal),
        ("[Compile::eval_cpu] Failed to compile function f: error writing to f.s: No space left on device", DiskFull),
        ("wrong shapes", NotComputable),
    ],
)
def test_a_model_that_cannot_be_computed_is_told_of_at_once(message: str, error: type[Exception]) -> None:
    with engine_of(Failing(message)) as engine:
        with pytest.raises(error):
            _ = engine.batching
        with pytest.raises(EngineEnded):
            engine.submit(prepared([9]), lambda _: None)


@pytest.mark.skipif(mx.metal.is_available(), reason="Metal is there")
def test_an_architecture_that_needs_metal_says_so() -> None:
    config = architectures.tiny_config("bitnet")
    with pytest.raises(NeedsMetal, match="`bitnet` needs Metal"):
        Batching.of(architectures.random_model(config))
