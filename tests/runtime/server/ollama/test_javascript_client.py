"""The official ollama client for JavaScript, unmodified, under Node: all that an answer can be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxbuild.runtime.server.failures import CLIENT_GONE
from tests.clients import node
from tests.runtime.server.ollama.asking import LOCK_ANSWER
from tests.runtime.server.running import RunningServer, soon


@pytest.fixture(scope="module")
def told(hello_server: RunningServer) -> Any:
    """What the client got."""
    return node.run(node.HERE / "ollama.js", hello_server.url)


def test_chat(told: Any) -> None:
    assert told["chat"]["message"]["content"] == LOCK_ANSWER
    assert told["chat"]["done_reason"] == "stop"


def test_stream(told: Any) -> None:
    assert "".join(piece["message"]["content"] for piece in told["pieces"]) == LOCK_ANSWER
    assert "".join(piece["message"].get("thinking", "") for piece in told["pieces"])
    assert [piece["done"] for piece in told["pieces"]] == [False] * (len(told["pieces"]) - 1) + [True]


def test_tools(told: Any) -> None:
    (call,) = told["call"]["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Oslo"}
    assert "Oslo" in told["result"]["message"]["content"]


def test_generate(told: Any) -> None:
    assert told["generate"]["response"] == LOCK_ANSWER


def test_structured_output(told: Any) -> None:
    assert told["formed"][0]["thinking"]
    for formed in told["formed"]:
        assert 0 <= json.loads(formed["content"])["count"] <= 9


def test_embeddings(told: Any) -> None:
    assert [len(vector) for vector in told["embedded"]["embeddings"]] == [8, 8]


def test_models(told: Any) -> None:
    assert "hello:int4" in [model["name"] for model in told["list"]["models"]]
    assert told["show"]["details"]["family"] == "qwen3"
    assert "hello" in told["ps"]["models"][0]["name"]
    assert told["version"]["version"]
    assert told["copied"] == told["deleted"] == {"status": "success"}


def test_errors(told: Any) -> None:
    missing, refused = told["errors"]
    assert missing == {"name": "ResponseError", "status": 404, "message": "model 'nobody' not found"}
    assert (refused["name"], refused["status"]) == ("ResponseError", 400)
    assert "Unimplemented keys" in refused["message"]


def test_abort(told: Any, hello_server: RunningServer) -> None:
    assert told["aborted"]["name"] == "AbortError"
    soon(lambda: CLIENT_GONE in [each.status for each in hello_server.observed if each.route == "/api/generate"])
