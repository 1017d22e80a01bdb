"""Bodies of chat completions as requests to a model, and its events as replies and chunks; no server takes part."""

from __future__ import annotations

from typing import Any

import pytest

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, TokenScore, ToolCall
from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, ToolChoice
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.chat.reply import chat_reply
from mlxbuild.runtime.server.openai.chat.request import chat_requests
from mlxbuild.runtime.server.openai.chat.stream import ChatStream

USER = {"role": "user", "content": "Hi"}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "hello"}
ENDING = GenerationFinished("stop", 10, 4, 6, 0.1, 0.2)


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": {"type": "object"}}}


def requests(**fields: Any) -> list[ChatRequest]:
    return chat_requests(checked(ChatBody, {"model": "hello", "messages": [USER], **fields}))


def request(**fields: Any) -> ChatRequest:
    (only,) = requests(**fields)
    return only


def test_a_silent_request_leaves_everything_to_the_model() -> None:
    asked = request(temperature=None, seed=None, stop=[], unknown={"a": 1})
    assert asked == ChatRequest(messages=(USER,), options={}, truncates=False)


def test_sampling_is_passed_on_under_the_engines_names() -> None:
    asked = request(
        temperature=1,
        top_p=0,
        seed=-1,
        max_tokens=5,
        max_completion_tokens=7,
        stop="x",
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"12": -100},
        logprobs=True,
        top_logprobs=2,
        num_ctx=512,
    )
    assert asked.options == {
        "temperature": 1,
        "top_k": 1,
        "seed": 2**64 - 1,
        "max_tokens": 7,
        "stops": ("x",),
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {12: -100},
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert asked.context_tokens == 512


def test_options_of_the_native_api_are_an_extension() -> None:
    asked = request(options={"num_ctx": 256, "top_k": 4, "temperature": 0.1}, temperature=0.2)
    assert asked.options == {"top_k": 4, "temperature": 0.2}
    assert asked.context_tokens == 256


def test_several_choices_have_seeds_that_count_up() -> None:
    assert [each.options.get("seed") for each in requests(n=3, seed=7)] == [7, 8, 9]
    assert [each.options.get("seed") for each in requests(n=2)] == [None, None]


def test_messages_become_what_templates_know() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    asked = request(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]},
            {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "cold"},
            {"role": "tool", "tool_call_id": "call_9", "content": "who?"},
        ]
    )
    function = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert asked.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What now?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "cold", "tool_call_id": "call_1", "name": "get_weather"},
        {"role": "tool", "content": "who?", "tool_call_id": "call_9"},
    )


@pytest.mark.parametrize(
    ("choice", "several", "expected"),
    [
        (None, None, (["a", "b"], ToolChoice())),
        ("auto", False, (["a", "b"], ToolChoice("auto", None, False))),
        ("none", None, ([], ToolChoice("none"))),
        ("required", True, (["a", "b"], ToolChoice("required"))),
        ({"type": "function", "function": {"name": "b"}}, None, (["a", "b"], ToolChoice("required", "b"))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("b")]}},
            None,
            (["b"], ToolChoice("required")),
        ),
    ],
)
def test_tool_choices(choice: Any, several: Any, expected: tuple[list[str], ToolChoice]) -> None:
    asked = request(tools=[tool("a"), tool("b")], tool_choice=choice, parallel_tool_calls=several)
    assert ([each["function"]["name"] for each in asked.tools], asked.tool_choice) == expected
    for each in asked.tools:
        assert each["function"].keys() == {"name", "parameters"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, AnswerFormat()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            AnswerFormat({"type": "object"}),
        ),
    ],
)
def test_formats(fields: Any, expected: AnswerFormat | None) -> None:
    assert request(**fields).format == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning": {"effort": "xhigh"}}, "max"),
    ],
)
def test_thinking(fields: Any, expected: Any) -> None:
    assert request(**fields).think == expected


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
BAD_CALL = {"type": "function", "function": {"name": "f", "arguments": "[1]"}}


@pytest.mark.parametrize(
    ("fields", "kind", "message", "where"),
    [
        ({"messages": []}, InvalidRequest, "at least 1 item", "messages"),
        ({"messages": [{"role": "user"}]}, InvalidRequest, "required", "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, InvalidRequest, "robot", "messages[0]"),
        ({"messages": [{"role": "assistant"}]}, InvalidRequest, "neither content nor", "messages[0]"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, NotSupported, "images", "messages[0].content[0]"),
        ({"temperature": "hot"}, InvalidRequest, "number", "temperature"),
        ({"n": 0}, InvalidRequest, "must be 1 or more", "n"),
        ({"functions": []}, InvalidRequest, "`tools` instead", "functions"),
        ({"tool_choice": "required"}, InvalidRequest, "no tools", "tool_choice"),
        ({"tools": [tool("a"), tool("a")]}, InvalidRequest, "two tools", "tools[1]"),
        (
            {"tools": [tool("a")], "tool_choice": {"type": "function", "function": {"name": "b"}}},
            InvalidRequest,
            "no tool is named `b`",
            "tool_choice",
        ),
        ({"response_format": {"type": "json_schema"}}, InvalidRequest, "required", "response_format.json_schema"),
        ({"reasoning_effort": "lots"}, InvalidRequest, "'none'", "reasoning_effort"),
        ({"modalities": ["audio"]}, InvalidRequest, "'text'", "modalities[0]"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(fields: Any, kind: Any, message: str, where: str) -> None:
    with pytest.raises(kind) as caught:
        request(**fields)
    assert message in str(caught.value)
    assert str(caught.value.where).startswith(where)


CHUNKS = [
    Chunk(thinking="Let me look.", token=1),
    Chunk("It is ", token=2, score=TokenScore(2, "It is ", b"It is ", -0.5)),
    Chunk(token=3, tool_call=ToolCall("get_weather", {"city": "Zürich"})),
    Chunk(finish=GenerationFinished("tool_calls", 10, 4, 6, 0.1, 0.2)),
]


def test_a_reply_has_everything() -> None:
    answer = Answer()
    for chunk in CHUNKS:
        answer.add(chunk)
    reply = chat_reply(HEAD, [answer], with_scores=True)
    (choice,) = reply["choices"]
    call = choice["message"].pop("tool_calls")[0]
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Zürich"}'}
    assert choice["message"] == {
        "role": "assistant",
        "content": "It is ",
        "refusal": None,
        "reasoning": "Let me look.",
        "reasoning_content": "Let me look.",
    }
    assert choice["finish_reason"] == "tool_calls"
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["It is "]
    assert reply["usage"]["total_tokens"] == 16
    assert reply["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}


def test_a_stream_tells_the_same_piece_by_piece() -> None:
    stream = ChatStream(HEAD, 1, with_scores=False, with_usage=True)
    chunks = [told for chunk in CHUNKS for told in stream.chunks(0, chunk)] + list(stream.usage())
    deltas = [told["choices"][0]["delta"] for told in chunks[:-1]]
    call = deltas[2].pop("tool_calls")[0]
    assert (call["index"], call["function"]["name"]) == (0, "get_weather")
    thinking = {"reasoning": "Let me look.", "reasoning_content": "Let me look."}
    assert deltas == [{"role": "assistant", "content": "", **thinking}, {"content": "It is "}, {}, {}]
    assert [told["choices"][0]["finish_reason"] for told in chunks[:-1]] == [None, None, None, "tool_calls"]
    assert {told["usage"] is None for told in chunks[:-1]} == {True}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 6


def test_choices_of_a_stream_keep_apart() -> None:
    stream = ChatStream(HEAD, 2, with_scores=False, with_usage=True)
    chunks = [
        *stream.chunks(1, Chunk("b", token=1)),
        *stream.chunks(0, Chunk("a", token=1)),
        *stream.chunks(0, Chunk(finish=ENDING)),
        *stream.chunks(1, Chunk(finish=ENDING)),
        *stream.usage(),
    ]
    assert [(told["choices"][0]["index"], told["choices"][0]["delta"]) for told in chunks[:2]] == [
        (1, {"role": "assistant", "content": "b"}),
        (0, {"role": "assistant", "content": "a"}),
    ]
    assert chunks[-1]["usage"]["prompt_tokens"] == 10
    assert chunks[-1]["usage"]["completion_tokens"] == 12
