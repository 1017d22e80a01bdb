"""Answers equal mlx-lm's, token for token; they end where they have to, and sampling can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.loaded_model import LoadedModel
from tests.runtime.tiny_folders import write_model

PROMPT = "hello world, how"


def tokens(model: LoadedModel, prompt: str = PROMPT, **options: Any) -> list[int]:
    return [chunk.token for chunk in model.generate(prompt, **options) if chunk.token is not None]


def text(model: LoadedModel, prompt: str = PROMPT, **options: Any) -> str:
    return "".join(chunk.text for chunk in model.generate(prompt, **options))


@pytest.mark.parametrize("model_type", ["qwen3", "llama", "gemma2", "phi3"])
def test_greedy_answers_are_those_of_mlx_lm(tmp_path: Path, model_type: str) -> None:
    from mlx_lm import load, stream_generate

    folder = write_model(tmp_path / "model", model_type)
    ours = LoadedModel(folder)
    model, tokenizer = load(str(folder))
    responses = list(stream_generate(model, tokenizer, ours.tokenize(PROMPT), max_tokens=48))
    assert tokens(ours, max_tokens=48) == [response.token for response in responses if response.finish_reason != "stop"]
    assert text(ours, max_tokens=48) == "".join(response.text for response in responses)


def test_a_long_prompt_is_prefilled_in_chunks(tiny: LoadedModel) -> None:
    whole = tokens(tiny, PROMPT * 8, max_tokens=12)
    assert tokens(LoadedModel(tiny.folder, limits=Limits(prefill_chunk_tokens=7)), PROMPT * 8, max_tokens=12) == whole


def test_a_longer_conversation_computes_only_what_is_new(tiny: LoadedModel) -> None:
    first = list(tiny.generate(PROMPT, max_tokens=10))
    said = [chunk.token for chunk in first if chunk.token is not None]
    longer = PROMPT + "".join(chunk.text for chunk in first)
    *_, last = tiny.generate(longer + " and you", max_tokens=10)
    assert last.finish is not None
    assert last.finish.reused_tokens >= len(tiny.tokenize(PROMPT))
    fresh = LoadedModel(tiny.folder)
    for prompt in (longer + " and you", PROMPT, PROMPT, longer, "something else"):
        assert tokens(tiny, prompt, max_tokens=10) == tokens(LoadedModel(tiny.folder), prompt, max_tokens=10)
    assert tokens(fresh, max_tokens=10) == said


def test_an_answer_that_is_broken_off_leaves_no_trace(tiny: LoadedModel) -> None:
    expected = tokens(tiny, max_tokens=10)
    stream = tiny.generate(PROMPT, max_tokens=10)
    next(stream)
    next(stream)
    del stream
    assert tokens(tiny, max_tokens=10) == expected


def test_a_stop_token_ends_without_text(tiny: LoadedModel) -> None:
    answer = tokens(tiny, max_tokens=20)
    place = next(n for n, token in enumerate(answer) if token not in answer[:n] and n > 0)
    facts = tiny.facts
    object.__setattr__(facts, "stop_token_ids", (answer[place],))
    chunks = list(tiny.generate(PROMPT, max_tokens=20))
    assert [chunk.token for chunk in chunks if chunk.token is not None] == answer[:place]
    assert chunks[-1].finish is not None
    assert (chunks[-1].finish.reason, chunks[-1].finish.answer_tokens) == ("stop", place + 1)


def test_a_stop_text_is_cut_off_and_not_shown(tiny: LoadedModel) -> None:
    whole = text(tiny, max_tokens=30)
    stop = whole[7:10]
    chunks = list(tiny.generate(PROMPT, max_tokens=30, stops=["never said", stop]))
    assert "".join(chunk.text for chunk in chunks) == whole[: whole.index(stop)]
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason == "stop"


def test_the_longest_answer_and_the_context_end_it(tiny: LoadedModel) -> None:
    *_, last = tiny.generate(PROMPT, max_tokens=5)
    assert last.finish is not None
    assert (last.finish.reason, last.finish.answer_tokens) == ("length", 5)
    long = "é" * 250
    *_, last = tiny.generate(long)
    assert last.finish is not None
    assert last.finish.prompt_tokens + last.finish.answer_tokens <= 512
    with pytest.raises(PromptUnusable, match=r"maximum context length \(512 tokens\)"):
        tiny.generate("é" * 400)
    with pytest.raises(PromptUnusable, match=r"maximum context length \(512 tokens\)"):
        tiny.chat([{"role": "user", "content": "é" * 4_000_000}])
    with pytest.raises(PromptUnusable, match="no tokens"):
        tiny.generate("")


def test_a_seed_repeats_an_answer(tiny: LoadedModel) -> None:
    chosen: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95, "top_k": 50, "min_p": 0.001, "max_tokens": 20}
    first = tokens(tiny, seed=7, **chosen)
    mx.random.seed(3)
    assert tokens(tiny, seed=7, **chosen) == first
    assert tokens(tiny, seed=8, **chosen) != first
    assert len({tuple(tokens(tiny, **chosen)) for _ in range(4)}) > 1


def test_another_thread_answers_alike(tiny: LoadedModel) -> None:
    from concurrent.futures import ThreadPoolExecutor

    chosen: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "seed": 1, "max_tokens": 12}
    first = tokens(tiny, **chosen)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(tokens, tiny, PROMPT, **chosen).result() == first
    assert tokens(tiny, PROMPT, **chosen) == first


def test_log_probabilities_are_those_of_the_tokens(tiny: LoadedModel) -> None:
    prompt = tiny.tokenize(PROMPT)
    chunks = [chunk for chunk in tiny.generate(PROMPT, max_tokens=4, logprobs=True) if chunk.token is not None]
    logits = tiny.weights.model(mx.array([[*prompt, *(chunk.token for chunk in chunks)]]))[0]
    for place, chunk in enumerate(chunks, len(prompt) - 1):
        expected = (logits[place] - mx.logsumexp(logits[place]))[chunk.token].item()
        assert chunk.score is not None
        assert chunk.score.logprob == pytest.approx(expected, abs=1e-4)
        assert (chunk.score.token, chunk.score.text) == (chunk.token, tiny.tokenizer.decode([chunk.token]))
