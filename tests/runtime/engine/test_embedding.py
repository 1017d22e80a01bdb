"""Vectors equal those of transformers, whatever else is in the batch, and errors of inputs are reported."""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.embedding.batches import in_batches
from mlxbuild.runtime.engine.embedding.vectors import Embedding, EmbeddingNotFinite, NotEmbedding
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.facts import LAST_STATE, EmbeddingFacts
from mlxbuild.runtime.model.load import load_weights
from tests.runtime.tiny_folders import write_model

MODELS = Path(__file__).parents[1] / "reference_models"
ENCODERS = ("bert", "xlm-roberta", "modernbert")
MAMBA = {"state_size": 8, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4}
SETTINGS: Any = {"normalizes": True, "dimensions": None, "tokens_at_once": 1024}
POOLINGS = ("mean", "cls", "last")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The reference models in memory; the decoder with mlx-lm's parameter names."""
    loaded = {name: load_weights(MODELS / name).model for name in ENCODERS}
    folder = shutil.copytree(MODELS / "qwen3", tmp_path_factory.mktemp("models") / "qwen3")
    weights: Any = mx.load(str(folder / "model.safetensors"))
    prefixed = {f"model.{name}": array for name, array in weights.items()}
    mx.eval(prefixed)
    mx.save_safetensors(str(folder / "model.safetensors"), prefixed, metadata={"format": "mlx"})
    return {**loaded, "qwen3": load_weights(folder).model}


def reference(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((MODELS / name / "vectors.json").read_text())
    return document


def facts(pooling: Any, name: str = "bert", **more: Any) -> EmbeddingFacts:
    return EmbeddingFacts(pooling, is_encoder=name in ENCODERS, **more)


def embed(model: Any, rows: Any, own: EmbeddingFacts, **settings: Any) -> Any:
    """All vectors, computed to the end."""
    embedding, vectors = Embedding(model, rows, own, **{**SETTINGS, **settings}), None
    while vectors is None:
        vectors = embedding.advance()
    return vectors


def close(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5, rel=2e-5)


@pytest.mark.parametrize("name", [*ENCODERS, "qwen3"])
def test_vectors_are_those_of_transformers_alone_and_together(models: dict[str, Any], name: str) -> None:
    expected = reference(name)
    for pooling in POOLINGS:
        own = facts(pooling, name)
        close(embed(models[name], expected["rows"], own, normalizes=False), expected[pooling])
        for row, vector in zip(expected["rows"], expected[pooling], strict=True):
            close(embed(models[name], [row], own, normalizes=False), [vector])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("model_type", ["qwen3", "mamba", "gemma3_text"])
def test_a_decoder_computes_long_texts_in_chunks(tmp_path: Path, model_type: str, pooling: str) -> None:
    more: Any = {"sliding_window": 16, "sliding_window_pattern": 2, **MAMBA}
    model = load_weights(write_model(tmp_path / "model", model_type, more=more)).model
    rows = [[(7 * place) % 90 + 5 for place in range(length)] for length in (150, 90)]
    whole = embed(model, rows, facts(pooling, model_type), tokens_at_once=1000)
    embedding, steps = Embedding(model, rows, facts(pooling, model_type), **{**SETTINGS, "tokens_at_once": 40}), 1
    while (vectors := embedding.advance()) is None:
        steps += 1
    assert steps == 8
    close(vectors, whole)


def test_rows_of_like_length_go_together_within_the_budget() -> None:
    rows = [[1] * length for length in (3, 900, 5, 20, 21, 4, 900)]
    assert list(in_batches(rows, 1000)) == [[1], [6], [4, 3], [2, 5, 0]]
    assert list(in_batches(rows, 10_000)) == [[1, 6], [4, 3], [2, 5, 0]]
    assert list(in_batches([[1]] * 5, 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_batches([], 10)) == []


def test_normalised_vectors_have_length_one_after_their_cut(models: dict[str, Any]) -> None:
    expected = reference("bert")
    for dimensions in (None, 16, 5):
        found = embed(models["bert"], expected["rows"], facts("mean"), dimensions=dimensions)
        for vector, whole in zip(found, expected["mean"], strict=True):
            kept = whole[:dimensions]
            close([vector], [[number / math.hypot(*kept) for number in kept]])
    own = embed(models["bert"], expected["rows"], facts("mean", normalizes=True), normalizes=False)
    assert [math.hypot(*vector) for vector in own] == pytest.approx([1, 1, 1], abs=1e-5)
    with pytest.raises(NotEmbedding, match="have 16 dimensions"):
        embed(models["bert"], [[2, 3]], facts("mean"), dimensions=17)


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "mamba"])
def test_a_model_that_writes_embeds_by_its_last_token(tmp_path: Path, model_type: str) -> None:
    model = load_weights(write_model(tmp_path / "model", model_type, more=MAMBA)).model
    rows = [[5, 6, 7, 8, 9], [5, 6], [9]]
    together = embed(model, rows, LAST_STATE)
    for row, vector in zip(rows, together, strict=True):
        close([vector], embed(model, [row], LAST_STATE))
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


def test_texts_are_embedded_between_answers_until_nobody_wants_them(tiny: LoadedModel) -> None:
    texts = [f"hello world {number} " * 9 for number in range(60)]
    alone = "".join(chunk.text for chunk in tiny.generate("hello", max_tokens=60))
    answer = tiny.generate("hello", max_tokens=60)
    begun = next(answer).text
    vectors = tiny.embed(texts).vectors
    assert begun + "".join(chunk.text for chunk in answer) == alone
    close([vectors[7]], tiny.embed([texts[7]]).vectors)
    asked: list[bool] = []

    def is_wanted() -> bool:
        asked.append(len(asked) < 2)
        return asked[-1]

    with pytest.raises(CancelledError):
        tiny.embed(texts, is_wanted=is_wanted)
    assert asked == [True, True, False]
    assert tiny.embed([]).vectors == ()


def test_what_is_no_number_is_an_error(tmp_path: Path) -> None:
    model = load_weights(MODELS / "bert").model
    norm = model.encoder.layer[1].output.LayerNorm
    norm.bias = norm.bias + mx.array(math.nan)
    with pytest.raises(EmbeddingNotFinite):
        embed(model, [[2, 3]], facts("mean"))
    with pytest.raises(NotEmbedding, match="does not show"):
        embed(object(), [[2, 3]], LAST_STATE)
