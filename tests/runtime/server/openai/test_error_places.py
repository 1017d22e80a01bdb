"""`param` and `code` of errors that are found out behind the API, and what `/v1/models` tells of contexts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.runtime.server.openai.asking import LOCK, MODEL, WEATHER

LONG = "What? " * 3000
CHAT: dict[str, Any] = {"messages": LOCK, "max_tokens": 2}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}}
EXCEEDED = "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields", "param", "code"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": LONG}]}, "messages", EXCEEDED),
        ("completions", {"prompt": LONG}, "prompt", EXCEEDED),
        ("responses", {"input": LONG}, "input", EXCEEDED),
        ("completions", {"prompt": [10**6]}, "prompt", "prompt-unusable"),
        ("chat/completions", {**CHAT, "model": "nobody"}, "model", "model_not_found"),
        ("chat/completions", {**CHAT, "keep_alive": "soon"}, "keep_alive", "invalid-keep-alive"),
        ("chat/completions", {**CHAT, "options": {"temperature": 50}}, "options", "invalid-option"),
        ("chat/completions", {**CHAT, "options": {"top_k": "x"}}, "options.top_k", "invalid-request"),
        ("chat/completions", {**CHAT, "response_format": SCHEMA}, "response_format", "invalid-schema"),
        (
            "chat/completions",
            {
                **CHAT,
                "tool_choice": "required",
                "tools": [{**WEATHER, "function": {"name": "f", "parameters": {"not": {}}}}],
            },
            "tools",
            "format-not-supported",
        ),
    ],
)
def test_the_field_is_told(
    hello: httpx.Client, path: str, fields: dict[str, Any], param: str, code: str, stream: bool
) -> None:
    answer = hello.post(f"/v1/{path}", json={"model": MODEL, "stream": stream, **fields})
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    assert answer.status_code == (404 if code == "model_not_found" else 400)
    if code == EXCEEDED:
        assert error["message"].startswith("This model's maximum context length is 2048 tokens. However, your messages")


def test_models_tell_their_context_under_the_names_in_use(hello: httpx.Client) -> None:
    for told in (hello.get("/v1/models").json()["data"][0], hello.get(f"/v1/models/{MODEL}").json()):
        assert (told["max_model_len"], told["context_length"]) == (2048, 2048)
    told = hello.get(f"/v1/models/{MODEL}", headers={"anthropic-version": "2023-06-01"}).json()
    assert told["max_input_tokens"] == 2048
    assert hello.get("/v1/models/nobody").json()["error"]["param"] == "model"


def test_a_prompt_is_echoed_without_an_answer(hello: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": "A lock is", "max_tokens": 0}
    for echo, text in ((True, "A lock is"), (False, "")):
        told = hello.post("/v1/completions", json={**body, "echo": echo}).json()
        assert (told["choices"][0]["text"], told["choices"][0]["finish_reason"]) == (text, "length")
        assert told["usage"]["completion_tokens"] == 0
        assert told["usage"]["prompt_tokens"] > 0


def test_minus_one_sets_no_bound_and_empty_stops_stop_nothing(hello: httpx.Client) -> None:
    told = hello.post("/v1/chat/completions", json={**CHAT, "model": MODEL, "max_tokens": -1, "stop": ["", ""]}).json()
    assert told["choices"][0]["finish_reason"] == "stop"


def test_arguments_that_are_no_json_are_told_as_they_were(hello: httpx.Client) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Ro'}}
    history = [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "the arguments are no JSON"},
    ]
    answer = hello.post("/v1/chat/completions", json={"model": MODEL, "messages": history, "tools": [WEATHER]})
    assert answer.status_code == 200, answer.text
    native = {"model": MODEL, "messages": history[:1], "stream": False, "_debug_render_only": True}
    native["messages"] = [history[0], {"role": "assistant", "content": "", "tool_calls": [call]}]
    rendered = hello.post("/api/chat", json=native).json()["_debug_info"]["rendered_template"]
    assert "Ro" in rendered
