"""go-openai, unmodified: two turns, each with a tool, the second one streamed, and an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients import go, node
from tests.mlxbuild.serving.conftest import ServeProcess

pytestmark = pytest.mark.timeout(900)  # the first run builds the program


@pytest.fixture(scope="module")
def told(served: ServeProcess) -> Any:
    """What the client told."""
    return go.run(node.HERE / "go_openai", served.url)


def test_two_turns_with_a_tool_each(told: Any) -> None:
    for turn, city in zip(told["turns"], ["Rome", "London"], strict=True):
        assert turn["call"]["name"] == "get_weather"
        assert list(json.loads(turn["call"]["arguments"])) == ["city"]
        assert turn["text"].endswith(f"sunny in {city}.")
        assert turn["reason"] == "stop"
        assert turn["tokens"] > 10
    assert json.loads(told["turns"][0]["call"]["arguments"])["city"] == "Rome"
    assert told["turns"][1]["pieces"] > 5


def test_a_model_that_does_not_exist(told: Any) -> None:
    assert (told["status"], told["code"]) == (404, "model_not_found")
