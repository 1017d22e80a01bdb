"""SmolLM2 writes the very tokens that `mlx_lm` writes at temperature 0, alone and beside others; stop tokens aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm import load, stream_generate
from mlx_lm.sample_utils import make_sampler

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.core.reference import Reference
from mlxbuild.runtime.engine.core.batching import EVERYTHING
from mlxbuild.runtime.loaded_model import LoadedModel
from tests.mlxbuild.conftest import CommandLine

TOKENS = 8
QUESTIONS = (
    "What is the capital of France?",
    "Count from one to ten in words, please, and then backwards from ten to one.",
    "Write a Python function that reverses a string.",
)


@pytest.fixture(scope="module", params=["int8", "none"])
def folder(request: pytest.FixtureRequest, smollm2: CommandLine) -> Path:
    """A variant's folder."""
    store = smollm2.store
    return model_folder(store, store.tags.resolve(Reference.parse(f"smol:{request.param}")))


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LoadedModel]:
    """The variant, in memory."""
    model = LoadedModel(folder)
    yield model
    model.close()


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[int]]:
    """What mlx_lm writes. On a CPU we compute in float32, so it has to as well."""
    loaded: Any = load(str(folder))
    network, tokenizer = loaded[0], loaded[1]
    network.set_dtype(mx.float32)
    return [_by_mlx_lm(network, tokenizer, question) for question in QUESTIONS]


def _by_mlx_lm(network: Any, tokenizer: Any, question: str) -> list[int]:
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
    chunks = stream_generate(network, tokenizer, prompt, max_tokens=TOKENS, sampler=make_sampler(temp=0))
    return [chunk.token for chunk in chunks if chunk.token not in tokenizer.eos_token_ids]


def _ours(model: LoadedModel, questions: Sequence[str]) -> list[list[int]]:
    streams = [
        model.chat([{"role": "user", "content": question}], temperature=0, max_tokens=TOKENS) for question in questions
    ]
    return [[chunk.token for chunk in stream if chunk.token is not None] for stream in streams]


def test_alone(model: LoadedModel, expected: list[list[int]]) -> None:
    for question, tokens in zip(QUESTIONS, expected, strict=True):
        assert _ours(model, [question]) == [tokens]


def test_all_at_once(model: LoadedModel, expected: list[list[int]]) -> None:
    assert model.engine.batching == EVERYTHING
    assert _ours(model, QUESTIONS) == expected
