"""MiniLM gives the vectors of `sentence-transformers`, and near sentences lie nearer than far ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import ollama
import openai
import pytest

from mlxbuild.registry.core.reference import Reference
from mlxbuild.runtime.loaded_model import LoadedModel
from tests.mlxbuild.conftest import CommandLine
from tests.mlxbuild.serving.conftest import serving

ROWS = json.loads(Path(__file__).with_name("minilm_vectors.json").read_text())
"""Made by `make_minilm_vectors.py`."""
TEXTS = [row["text"] for row in ROWS]
BREAD, FOOD, VIOLIN, PASSWORD, LOGIN = range(5)


@pytest.fixture(scope="module", params=["none", "int8"])
def model(request: pytest.FixtureRequest, minilm: CommandLine) -> Iterator[LoadedModel]:
    """A variant, in memory."""
    store = minilm.store
    model = LoadedModel.open(store, store.tags.resolve(Reference.parse(f"minilm:{request.param}")))
    yield model
    model.close()


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_vectors_are_those_of_sentence_transformers(model: LoadedModel) -> None:
    is_exact = model.weights.config.get("quantization") is None
    for vector, row in zip(model.embed(TEXTS).vectors, ROWS, strict=True):
        if is_exact:
            assert max(abs(a - b) for a, b in zip(vector, row["vector"], strict=True)) < 1e-3
        assert cosine(vector, row["vector"]) > 0.99


def test_near_sentences_lie_nearer_than_far_ones(model: LoadedModel) -> None:
    vectors = model.embed(TEXTS[:5]).vectors
    near = min(cosine(vectors[BREAD], vectors[FOOD]), cosine(vectors[PASSWORD], vectors[LOGIN]))
    far = max(cosine(vectors[one], vectors[other]) for one in (BREAD, VIOLIN) for other in (PASSWORD, LOGIN))
    assert near > far + 0.2


def test_clients_get_the_same_vectors(minilm: CommandLine) -> None:
    with serving(minilm.home) as server:
        with ollama.Client(server.url) as client:
            by_ollama = client.embed("minilm:none", TEXTS).embeddings
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            told = client.embeddings.create(model="minilm:none", input=TEXTS[:-1])  # the last one is too long
    by_openai = [each.embedding for each in told.data]
    for row, vector in zip(ROWS + ROWS[:-1], [*by_ollama, *by_openai], strict=True):
        assert vector == pytest.approx(row["vector"], abs=1e-3)
