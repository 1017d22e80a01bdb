"""Completions, embeddings and responses: bodies as requests, and events as replies; no server takes part."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from openai.types import responses as sdk

from mlxbuild.runtime.protocol.events import Chunk, Embeddings, GenerationFinished, TokenScore, ToolCall
from mlxbuild.runtime.protocol.requests import AnswerFormat, ToolChoice
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import HttpFailure, InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.completions.body import CompletionBody, completion_requests
from mlxbuild.runtime.server.openai.completions.reply import Completions
from mlxbuild.runtime.server.openai.embeddings.body import EmbeddingBody, embedding_reply, embedding_request
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request
from mlxbuild.runtime.server.openai.responses.reply import ResponseEvents

ENDING = GenerationFinished("stop", 10, 4, 6, 0.1, 0.2)
CUT = GenerationFinished("length", 10, 0, 6, 0.1, 0.2)


def completion(**fields: Any) -> list[Any]:
    return completion_requests(checked(CompletionBody, {"model": "hello", **fields}))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)])],
)
def test_prompts_of_completions(prompt: Any, expected: list[Any]) -> None:
    assert [request.prompt for request in completion(prompt=prompt)] == expected


def test_every_prompt_has_all_its_choices() -> None:
    asked = completion(prompt=["a", "b"], n=2, seed=5, suffix="z", logprobs=0, max_tokens=3)
    assert [(request.prompt, request.options["seed"]) for request in asked] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert {request.suffix for request in asked} == {"z"}
    assert asked[0].options["logprobs"] is True
    assert "top_logprobs" not in asked[0].options


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, InvalidRequest),
        ({"prompt": ""}, InvalidRequest),
        ({"prompt": []}, InvalidRequest),
        ({"prompt": ["a", 1]}, InvalidRequest),
        ({"prompt": [[]]}, InvalidRequest),
        ({"prompt": "a", "best_of": 2}, NotSupported),
        ({"prompt": "a", "echo": True, "logprobs": 1}, NotSupported),
    ],
)
def test_completions_that_cannot_be(fields: Any, kind: Any) -> None:
    with pytest.raises(kind):
        completion(**fields)


def test_completions_tell_scores_echo_and_usage() -> None:
    score = TokenScore(5, " x", b" x", -0.25)
    both = Completions({"id": "cmpl-1"}, ["a", "bb"], 1, with_scores=True)
    for index in (0, 1):
        both.add(index, Chunk(" x", token=5, score=score, alternatives=(score,)))
        both.add(index, Chunk(finish=ENDING))
    reply = both.reply()
    assert [choice["text"] for choice in reply["choices"]] == ["a x", "bb x"]
    assert reply["choices"][1]["logprobs"] == {
        "tokens": [" x"],
        "token_logprobs": [-0.25],
        "top_logprobs": [{" x": -0.25}],
        "text_offset": [2],
    }
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (20, 12)
    stream = Completions({"id": "cmpl-1"}, ["a"], 1, with_scores=False)
    chunks = [
        *stream.chunks(0, Chunk(" x", token=5), with_usage=False),
        *stream.chunks(0, Chunk("y", finish=ENDING), with_usage=False),
    ]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a x", "y"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]


def test_embeddings_are_lists_or_little_endian_floats() -> None:
    body = checked(EmbeddingBody, {"model": "m", "input": ["a", ""], "dimensions": 2})
    assert embedding_request(body).inputs == ("a", "")
    assert embedding_request(body).dimensions == 2
    assert embedding_request(checked(EmbeddingBody, {"model": "m", "input": [[1, 2], [3]]})).inputs == ((1, 2), (3,))
    vectors = Embeddings(((0.5, -0.25), (1.0, 0.0)), 7)
    reply = embedding_reply(body, vectors)
    assert [each["embedding"] for each in reply["data"]] == [[0.5, -0.25], [1.0, 0.0]]
    assert reply["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = embedding_reply(checked(EmbeddingBody, {"model": "m", "input": "a", "encoding_format": "base64"}), vectors)
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, -0.25)
    for wrong in ([], None, {}, 1, [""] * 2 + [1]):
        with pytest.raises(InvalidRequest):
            checked(EmbeddingBody, {"model": "m", "input": wrong})


def response(**fields: Any) -> ResponseBody:
    return checked(ResponseBody, {"model": "hello", "input": "Hi", **fields})


def test_items_become_a_conversation() -> None:
    asked = response_request(
        response(
            instructions="Be brief.",
            input=[
                {"role": "developer", "content": "More."},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": "Wait.", "annotations": []}]},
                {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "cold"},
            ],
        )
    )
    function = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert asked.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "More."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Wait.",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "cold", "name": "get_weather"},
    )


def test_settings_of_a_response() -> None:
    tools = [{"type": "function", "name": "f", "parameters": None, "strict": True}]
    asked = response_request(
        response(
            tools=tools,
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
            text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
            reasoning={"effort": "low", "summary": "auto"},
            max_output_tokens=4,
            truncation="auto",
            include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        )
    )
    assert asked.tool_choice == ToolChoice("required", "f", False)
    assert asked.format == AnswerFormat({"type": "object"})
    assert (asked.think, asked.truncates, asked.options) == ("low", True, {"max_tokens": 4, "logprobs": True})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conversation": {"id": "c"}}, "no conversation is kept"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "function"}]}, "name"),
        ({"input": [{"type": "item_reference"}]}, "id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "images"),
        ({"input": []}, "at least 1"),
    ],
)
def test_responses_that_cannot_be(fields: Any, message: str) -> None:
    with pytest.raises((InvalidRequest, NotSupported), match=message):
        response_request(response(**fields))


def told(events: ResponseEvents, *chunks: Chunk) -> list[dict[str, Any]]:
    return [*events.begin(), *(event for chunk in chunks for event in events.add(chunk))]


def test_a_response_tells_of_every_item() -> None:
    events = ResponseEvents(response(background=False), "resp_1")
    sent = told(
        events,
        Chunk(thinking="h", token=1),
        Chunk(thinking="m", token=1),
        Chunk("It ", token=1),
        Chunk("is", token=1),
        Chunk(tool_call=ToolCall("f", {"a": 1}), token=1),
        Chunk(finish=GenerationFinished("tool_calls", 10, 4, 6, 0.1, 0.2)),
    )
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    assert [event["type"].removeprefix("response.") for event in sent] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["output_index"] for event in sent if "output_index" in event] == [0] * 7 + [1] * 7 + [2] * 4
    whole = sdk.Response.model_validate(sent[-1]["response"], strict=False)
    assert whole.output_text == "It is"
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.status) == (10, 6, "completed")
    assert sent[0]["response"]["output"] == []


def test_a_response_that_is_cut_says_so() -> None:
    events = ResponseEvents(response(), "resp_1")
    sent = told(events, Chunk("It", token=1), Chunk(finish=CUT))
    assert sent[-1]["type"] == "response.incomplete"
    assert events.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events.response["output"][0]["status"] == "incomplete"


def test_a_response_that_fails_says_so() -> None:
    events = ResponseEvents(response(), "resp_1")
    told(events, Chunk("It", token=1))
    sent = list(events.fail(HttpFailure(500, "the runner is gone", "runner-crashed")))
    assert [event["type"] for event in sent[-2:]] == ["error", "response.failed"]
    assert sent[-2]["message"] == "the runner is gone"
    assert events.response["error"] == {"code": "server_error", "message": "the runner is gone"}
