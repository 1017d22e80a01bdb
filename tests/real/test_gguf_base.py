"""SmolLM2 built from its GGUF file is the file, number by number, and answers as its dequantized twin does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm import load as load_by_mlx_lm
from mlx_lm import stream_generate
from mlx_lm.sample_utils import make_sampler

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.toolchain.against_source import compare_with_source, require_as_claimed
from mlxbuild.toolchain.create import create
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.prepare import LockMode, prepare
from mlxbuild.toolchain.spec.load import load
from tests.real.models import SMOLLM2, SMOLLM2_GGUF, require

TOKENS = 8
QUESTIONS = ("What is the capital of France?", "Write a Python function that reverses a string.")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smollm2") / "ModelSpec.yaml"
    (path.parent / "smollm2.gguf").symlink_to(require(SMOLLM2_GGUF))
    path.write_text('name: smol\nversion: "1.0"\nbase: {gguf: smollm2.gguf}\n')
    return path


@pytest.fixture(scope="module")
def artifact(recipe: Path) -> Artifact:
    store = Store.open(Home(recipe.parent / "home"))
    variants = prepare(load(recipe), store, LockMode.UPDATE).variants()
    (built,) = create(variants, store, EventStream([]), run="test").artifacts
    assert built.digest is not None
    return Artifact.open(store, built.digest)


@pytest.fixture(scope="module")
def model(artifact: Artifact) -> Iterator[LoadedModel]:
    model = LoadedModel(model_folder(artifact.store, artifact.digest))
    yield model
    model.close()


def _by_mlx_lm(network: Any, tokenizer: Any, question: str) -> str:
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
    chunks = stream_generate(network, tokenizer, prompt, max_tokens=TOKENS, sampler=make_sampler(temp=0))
    return "".join(chunk.text for chunk in chunks)


def test_every_tensor_holds_what_the_file_means(artifact: Artifact, recipe: Path) -> None:
    comparison = compare_with_source(artifact, recipe)
    require_as_claimed(comparison)
    assert comparison.counts() == {"exact": 272, "near": 0, "rounded": 0}
    assert sum(tensor.type in ("Q4_1", "Q8_0") for tensor in comparison.tensors) == 211
    assert comparison.largest("exact") == 0


def test_it_answers_as_its_twin(model: LoadedModel) -> None:
    loaded: Any = load_by_mlx_lm(str(require(SMOLLM2)))
    network, tokenizer = loaded[0], loaded[1]
    network.set_dtype(mx.float32)
    answers = []
    for question in QUESTIONS:
        stream = model.chat([{"role": "user", "content": question}], temperature=0, max_tokens=TOKENS)
        answers.append("".join(chunk.text for chunk in stream))
        assert answers[-1] == _by_mlx_lm(network, tokenizer, question)
    assert answers[0] == "The capital of France is Paris."
