"""Bodies of messages as requests to a model, and its events as messages; no server takes part."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import types as sdk

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, ToolCall
from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, ToolChoice
from mlxbuild.runtime.server.anthropic.body import MessagesBody, PromptBody
from mlxbuild.runtime.server.anthropic.reply import MessageEvents
from mlxbuild.runtime.server.anthropic.request import chat_request
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported

USER = {"role": "user", "content": "Hi"}
WEATHER = {"name": "get_weather", "description": "d", "input_schema": {"type": "object"}, "cache_control": {}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


def body(**fields: Any) -> MessagesBody:
    return checked(MessagesBody, {"model": "hello", "max_tokens": 50, "messages": [USER], **fields})


def request(**fields: Any) -> ChatRequest:
    return chat_request(body(**fields))


def test_a_silent_request_sets_the_bound_alone_and_does_not_think() -> None:
    assert request() == ChatRequest((USER,), think=False, options={"max_tokens": 50}, truncates=False)
    counted = checked(PromptBody, {"model": "hello", "messages": [USER]})
    assert chat_request(counted) == ChatRequest((USER,), think=False, truncates=False)


@pytest.mark.parametrize(("told", "given"), [("no such city", "Error: no such city"), ("Error: gone", "Error: gone")])
def test_failures_of_tools_are_told_as_such(told: str, given: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": told, "is_error": True}
    asked = request(messages=[{"role": "user", "content": [result]}])
    assert asked.messages == ({"role": "tool", "content": given, "tool_call_id": "t1"},)


def test_results_of_tools_come_before_the_users_text() -> None:
    asked = request(
        system=[
            {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "brief."},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Wait."},
                    {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Oslo"}},
                    {"type": "tool_use", "id": "t2", "name": "get_weather", "input": {"city": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "So?"},
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "cold"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True},
                ],
            },
        ],
    )
    calls = [
        {"id": id_, "type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
        for id_, city in (("t1", "Oslo"), ("t2", "Rome"))
    ]
    assert asked.messages == (
        {"role": "system", "content": "Be\nbrief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Wait.", "reasoning_content": "hm", "tool_calls": calls},
        {"role": "tool", "content": "cold", "tool_call_id": "t1", "name": "get_weather"},
        {"role": "tool", "content": "Error: no such city", "tool_call_id": "t2", "name": "get_weather"},
        {"role": "user", "content": "So?"},
    )


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        (None, 1, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, 1, ToolChoice("auto", None, False)),
        ({"type": "any"}, 1, ToolChoice("required")),
        ({"type": "tool", "name": "get_weather"}, 1, ToolChoice("required", "get_weather")),
        ({"type": "none"}, 0, ToolChoice("none")),
    ],
)
def test_tool_choices(choice: Any, tools: int, expected: ToolChoice) -> None:
    asked = request(tools=[WEATHER], tool_choice=choice)
    assert asked.tool_choice == expected
    assert len(asked.tools) == tools
    for tool in asked.tools:
        function = {"name": "get_weather", "description": "d", "parameters": {"type": "object"}}
        assert tool == {"type": "function", "function": function}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "enabled"}, "output_config": {"effort": "xhigh"}}, "max"),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_thinking(fields: Any, expected: Any) -> None:
    assert request(**fields).think == expected


def test_options_and_format() -> None:
    schema = {"type": "object", "properties": {}}
    asked = request(
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop_sequences=["x"],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert asked.options == {"max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stops": ("x",)}
    assert asked.format == AnswerFormat(schema)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "images"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [IMAGE]}]}
                ]
            },
            "images",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tool_choice": {"type": "any"}}, "no tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "b"}}, "no tool is named `b`"),
        ({"tools": [WEATHER, WEATHER]}, "two tools"),
    ],
)
def test_what_cannot_be_done_is_refused(fields: Any, message: str) -> None:
    with pytest.raises((InvalidRequest, NotSupported), match=message):
        request(**fields)


def told(events: MessageEvents, *chunks: Chunk) -> list[dict[str, Any]]:
    return [*events.begin(10), *(event for chunk in chunks for event in events.add(chunk))]


def finish(reason: Any, **more: Any) -> Chunk:
    return Chunk(finish=GenerationFinished(reason, 10, 4, 6, 0.1, 0.2, **more))


CHUNKS = (
    Chunk(thinking="h", token=1),
    Chunk(thinking="m", token=1),
    Chunk("It ", token=1),
    Chunk("is", token=1),
    Chunk(tool_call=ToolCall("get_weather", {"city": "Zürich"}), token=1),
    finish("tool_calls"),
)


def test_a_message_tells_of_every_block() -> None:
    events = MessageEvents(body(thinking={"type": "enabled"}))
    sent = told(events, *CHUNKS)
    assert [(event["type"], event.get("index"), event.get("delta", {}).get("type")) for event in sent] == [
        ("message_start", None, None),
        ("content_block_start", 0, None),
        ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "signature_delta"),
        ("content_block_stop", 0, None),
        ("content_block_start", 1, None),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_stop", 1, None),
        ("content_block_start", 2, None),
        ("content_block_delta", 2, "input_json_delta"),
        ("content_block_stop", 2, None),
        ("message_delta", None, None),
        ("message_stop", None, None),
    ]
    assert sent[0]["message"]["usage"]["input_tokens"] == 10
    assert sent[0]["message"]["content"] == []
    whole = sdk.Message.model_validate(events.message)
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert (whole.stop_reason, whole.usage.output_tokens) == ("tool_use", 6)


def test_thinking_that_nobody_asked_for_is_not_shown() -> None:
    events = MessageEvents(body())
    told(events, *CHUNKS)
    assert [block["type"] for block in events.message["content"]] == ["text", "tool_use"]


@pytest.mark.parametrize(
    ("chunk", "reason", "sequence"),
    [
        (finish("stop"), "end_turn", None),
        (finish("stop", stop="x"), "stop_sequence", "x"),
        (finish("stop", stop="</s>"), "end_turn", None),
        (finish("length"), "model_context_window_exceeded", None),
    ],
)
def test_stop_reasons(chunk: Chunk, reason: str, sequence: str | None) -> None:
    events = MessageEvents(body(stop_sequences=["x"]))
    told(events, chunk)
    assert (events.message["stop_reason"], events.message["stop_sequence"]) == (reason, sequence)


def test_a_message_as_long_as_was_allowed_says_so() -> None:
    events = MessageEvents(body(max_tokens=6))
    told(events, finish("length"))
    assert events.message["stop_reason"] == "max_tokens"
