"""What clients of `/v1` see on the wire, row by row of the contract that Ollama's server set."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any

import httpx
import pytest

from tests.runtime.server.openai.asking import LOCK, MODEL, WEATHER, asking_for_rome

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": LOCK, "max_tokens": 30}


def events(answer: httpx.Response) -> list[Any]:
    """The data of all events, without comments."""
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = [line for line in answer.text.split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    return [line if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_content_types_keys_and_unknown_fields_do_not_matter(hello: httpx.Client) -> None:
    noise = {"unknown": {"a": 1}, "store": True, "tools": None, "seed": None, "user": "someone", "metadata": {}}
    for headers in ({}, {"Content-Type": "text/plain"}, {"Authorization": "Bearer whatever"}):
        answer = hello.post(CHAT, content=json.dumps({**BODY, **noise}), headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": 5, "messages": []}', b'{"messages": []}'])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"])
def test_what_is_no_request_is_refused(hello: httpx.Client, path: str, content: bytes) -> None:
    answer = hello.post(path, content=content)
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"]
    if path != "/v1/messages":
        assert told["error"].keys() == {"message", "type", "param", "code"}
        assert told.keys() == {"error"}
    else:
        assert told.keys() == {"type", "error", "request_id"}


def test_paths_and_methods_that_are_not_there(hello: httpx.Client) -> None:
    assert hello.get("/v1/nothing").status_code == 404
    assert hello.get(CHAT).status_code == 405
    assert hello.head("/v1/models").status_code == 200


def test_a_chat_has_these_fields(hello: httpx.Client) -> None:
    told = hello.post(CHAT, json=BODY).json()
    assert told.keys() == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert re.fullmatch(r"fp_[0-9a-f]{12}", told["system_fingerprint"])
    assert told["model"] == MODEL
    message = told["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["reasoning"] == message["reasoning_content"]  # the model thinks when nothing is said


def test_a_stream_of_a_chat_has_this_form(hello: httpx.Client) -> None:
    body = {**BODY, "max_tokens": 60, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, finish, usage, done = events(hello.post(CHAT, json=body))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert not any(delta.get("content") and delta.get("reasoning") for delta in deltas)
    assert any(delta.get("reasoning") for delta in deltas)
    assert finish["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert usage["choices"] == []
    assert done == "data: [DONE]"
    plain = events(hello.post(CHAT, json={**BODY, "stream": True}))
    assert all(chunk["choices"] for chunk in plain[:-1])


def test_calls_come_whole_with_arguments_as_text(hello: httpx.Client) -> None:
    body = {"model": MODEL, "messages": asking_for_rome(), "tools": [WEATHER], "reasoning_effort": "none"}
    told = hello.post(CHAT, json=body).json()["choices"][0]
    (call,) = told["message"]["tool_calls"]
    assert call.keys() == {"index", "id", "type", "function"}
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert (told["finish_reason"], told["message"]["content"]) == ("tool_calls", None)
    chunks = events(hello.post(CHAT, json={**body, "stream": True}))[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert [(each["index"], each["function"]["name"]) for (each,) in calls] == [(0, "get_weather")]


def test_completions_have_this_form(hello: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": "A lock is", "max_tokens": 4}
    told = hello.post("/v1/completions", json=body).json()
    assert (told["object"], told["choices"][0]["finish_reason"]) == ("text_completion", "length")
    assert told["id"].startswith("cmpl-")
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = events(hello.post("/v1/completions", json=asked))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == told["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]) == ([], told["usage"] | usage["usage"])
    assert done == "data: [DONE]"


def test_embeddings_have_this_form(hello: httpx.Client) -> None:
    body = {"model": MODEL, "input": "What is a lock?"}
    told = hello.post("/v1/embeddings", json=body).json()
    assert told.keys() == {"object", "data", "model", "usage"}
    (vector,) = told["data"]
    packed = hello.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert struct.unpack(f"<{len(vector['embedding'])}f", base64.b64decode(packed)) == pytest.approx(
        vector["embedding"], abs=1e-5
    )
    for wrong in ([], None, 5, {"a": 1}):
        assert hello.post("/v1/embeddings", json={**body, "input": wrong}).status_code == 400


def test_the_artifacts_own_defaults_hold(hello: httpx.Client) -> None:
    """Its temperature is 0, and an answer has 200 tokens at most."""
    body = {"model": MODEL, "prompt": "once", "logit_bias": {"1": -100, "2": -100}}
    told = [hello.post("/v1/completions", json=body).json() for _ in range(2)]
    assert told[0]["choices"] == told[1]["choices"]
    assert told[0]["usage"]["completion_tokens"] <= 200
