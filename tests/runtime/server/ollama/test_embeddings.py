"""`/api/embed` and `/api/embeddings` against the contract. The example writes, so it embeds by its last token."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from tests.runtime.server.ollama.asking import error, post

TEXTS = ["What is a lock?", "Who are you?"]


def embed(client: httpx.Client, **fields: Any) -> httpx.Response:
    return post(client, "/api/embed", **{"model": "hello", **fields})


def test_a_text_and_a_list_of_texts(hello: httpx.Client) -> None:
    told = embed(hello, input=TEXTS).json()
    assert set(told) == {"model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"}
    assert told["model"] == "hello"
    assert told["prompt_eval_count"] > len(TEXTS)
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-5) for vector in told["embeddings"])
    (alone,) = embed(hello, input=TEXTS[0]).json()["embeddings"]
    assert alone == pytest.approx(told["embeddings"][0], abs=1e-4)
    assert alone != pytest.approx(told["embeddings"][1], abs=1e-2)


def test_fewer_dimensions_are_normalised_again(hello: httpx.Client) -> None:
    (whole,) = embed(hello, input=TEXTS[0]).json()["embeddings"]
    (short,) = embed(hello, input=TEXTS[0], dimensions=4).json()["embeddings"]
    assert short == pytest.approx([number / math.hypot(*whole[:4]) for number in whole[:4]], abs=1e-5)
    assert error(embed(hello, input=TEXTS[0], dimensions=100_000))[0] == 400


@pytest.mark.parametrize("fields", [{}, {"input": []}, {"input": ""}, {"input": None}])
def test_no_input_only_loads(hello: httpx.Client, fields: dict[str, Any]) -> None:
    assert embed(hello, **fields).json() == {"model": "hello", "embeddings": []}


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"input": 7}, 400, "invalid input type"),
        ({"input": [["a"]]}, 400, "invalid input type"),
        ({"input": "word " * 5000, "truncate": False}, 400, "the input length exceeds the context length"),
        ({"input": "a", "model": "unknown"}, 404, 'model "unknown" not found, try pulling it first'),
        ({"input": "a", "model": ""}, 404, "model '' not found"),
    ],
)
def test_refusals(hello: httpx.Client, fields: dict[str, Any], status: int, told: str) -> None:
    found, message = error(embed(hello, **fields))
    assert found == status
    assert told in message


def test_long_texts_are_cut(hello: httpx.Client) -> None:
    told = embed(hello, input="word " * 5000).json()
    assert len(told["embeddings"]) == 1
    assert told["prompt_eval_count"] < 5000


def test_the_older_route_does_not_normalise(hello: httpx.Client) -> None:
    told = post(hello, "/api/embeddings", model="hello", prompt=TEXTS[0]).json()
    assert set(told) == {"embedding"}
    length = math.hypot(*told["embedding"])
    assert length != pytest.approx(1, abs=1e-3)
    (whole,) = embed(hello, input=TEXTS[0]).json()["embeddings"]
    assert [number / length for number in told["embedding"]] == pytest.approx(whole, abs=1e-5)
    assert post(hello, "/api/embeddings", model="hello", prompt="").json() == {"embedding": []}
    assert error(post(hello, "/api/embeddings", prompt="x")) == (400, "model is required")
