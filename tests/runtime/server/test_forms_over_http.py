"""Answers in a form over every API: strict JSON even where a grammar rules tokens out, and llama.cpp's own fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.runtime.server.openai.asking import WEATHER

SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
MESSAGES = [{"role": "user", "content": "Tell me of Rome."}]
CHAT = {"model": "hello", "messages": MESSAGES, "max_tokens": 60, "reasoning_effort": "none"}
SCORED = {"logprobs": True, "top_logprobs": 20}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat completions": (
        "/v1/chat/completions",
        {**CHAT, **SCORED, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    ),
    "completions": (
        "/v1/completions",
        {"model": "hello", "prompt": "Rome", "max_tokens": 60, "logprobs": 20, "json_schema": SCHEMA},
    ),
    "responses": (
        "/v1/responses",
        {
            "model": "hello",
            "input": "Tell me of Rome.",
            "max_output_tokens": 60,
            "top_logprobs": 20,
            "reasoning": {"effort": "none"},
            "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        },
    ),
    "chat": ("/api/chat", {"model": "hello", "messages": MESSAGES, **SCORED, "format": SCHEMA, "think": False}),
    "generate": ("/api/generate", {"model": "hello", "prompt": "Rome", **SCORED, "format": SCHEMA, "think": False}),
    "messages": (
        "/v1/messages",
        {
            "model": "hello",
            "messages": MESSAGES,
            "max_tokens": 60,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
}


TOO_LARGE = {"type": "string", "pattern": "^(a?){500}a{500}$"}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def documents(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        line = line.removeprefix("data: ")
        if line.startswith(("{", "[")) and line != "[DONE]":
            yield json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ASKED)
def test_every_answer_is_strict_json(hello: httpx.Client, name: str, stream: bool) -> None:
    path, body = ASKED[name]
    answer = hello.post(path, json={**body, "stream": stream})
    assert answer.status_code == 200, answer.text
    told = list(documents(answer.text))
    assert told
    if name != "messages":
        assert "logprob" in answer.text


def asked(hello: httpx.Client, **fields: Any) -> httpx.Response:
    return hello.post("/v1/chat/completions", json={**CHAT, **fields})


@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "json_object", "schema": SCHEMA}}, {"json_schema": SCHEMA}]
)
def test_schemas_in_the_way_of_llama_cpp_are_held(hello: httpx.Client, fields: dict[str, Any]) -> None:
    answer = asked(hello, **fields).json()
    document = json.loads(answer["choices"][0]["message"]["content"])
    assert document in ({"city": "Oslo"}, {"city": "Rome"})


def test_forms_that_are_not_taken_are_refused(hello: httpx.Client) -> None:
    refused = asked(hello, grammar="neither")
    assert refused.status_code == 400
    assert "GBNF" in refused.json()["error"]["message"]
    two = asked(hello, json_schema=SCHEMA, response_format={"type": "json_object"})
    assert two.status_code == 400
    told = hello.post("/v1/completions", json={"model": "hello", "prompt": "x", "grammar": "x"})
    assert (told.status_code, told.json()["error"]["param"]) == (400, "grammar")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_call_that_is_cut_is_no_text(hello: httpx.Client, choice: str) -> None:
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    chat = asked(hello, messages=question, tools=[WEATHER], tool_choice=choice, max_tokens=6).json()["choices"][0]
    assert (chat["message"]["content"] or "", chat["finish_reason"]) == ("", "length")
    tool = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
    kind = {"type": "any" if choice == "required" else "auto"}
    body = {"model": "hello", "messages": question, "tools": [tool], "tool_choice": kind, "max_tokens": 6}
    message = hello.post("/v1/messages", json=body).json()
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")


def test_a_form_that_grows_too_large_is_the_fault_of_who_asks_for_it(hello: httpx.Client) -> None:
    body = {"model": "hello", "messages": MESSAGES, "stream": False, "think": False, "format": TOO_LARGE}
    answer = hello.post("/api/chat", json=body)
    assert answer.status_code == 400
    assert "cannot go on in its response format" in answer.text or "left its response format" in answer.text
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": TOO_LARGE}}
    answer = hello.post("/v1/chat/completions", json={**CHAT, "response_format": form})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "response_format", "form-lost"), error
