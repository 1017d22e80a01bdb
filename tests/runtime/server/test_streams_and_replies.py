"""Streams against replies: whatever a model says, clients that put a stream together have what the whole reply tells.

They are put together by OpenAI's own accumulator, and for the others by what their events say.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, ToolCall
from mlxbuild.runtime.server.anthropic.body import MessagesBody
from mlxbuild.runtime.server.anthropic.reply import MessageEvents
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.openai.chat.reply import chat_reply
from mlxbuild.runtime.server.openai.chat.stream import ChatStream
from mlxbuild.runtime.server.openai.responses.body import ResponseBody
from mlxbuild.runtime.server.openai.responses.reply import ResponseEvents

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "hello"}
texts = st.text(min_size=1, max_size=5)
parts = st.one_of(
    st.builds(Chunk, text=texts, token=st.just(1)),
    st.builds(Chunk, thinking=texts, token=st.just(1)),
    st.builds(Chunk, token=st.just(1)),
    st.builds(Chunk, tool_call=st.builds(ToolCall, texts, st.dictionaries(texts, texts)), token=st.just(1)),
)
finishes = st.sampled_from(["stop", "length", "tool_calls"]).map(
    lambda reason: GenerationFinished(reason, 9, 3, 7, 0.1, 0.2)
)
answers = st.tuples(st.lists(parts, max_size=8), finishes).map(lambda said: [*said[0], Chunk(finish=said[1])])


@given(answers)
def test_a_chat(chunks: list[Chunk]) -> None:
    answer, state = Answer(), ChatCompletionStreamState()
    stream = ChatStream(HEAD, 1, with_scores=False, with_usage=True)
    for chunk in chunks:
        answer.add(chunk)
        for told in stream.chunks(0, chunk):
            state.handle_chunk(ChatCompletionChunk.model_validate(told))
    for told in stream.usage():
        state.handle_chunk(ChatCompletionChunk.model_validate(told))
    whole = chat_reply(HEAD, [answer], with_scores=False)
    together = state.current_completion_snapshot.model_dump()
    (expected,), (choice,) = whole["choices"], together["choices"]
    assert choice["finish_reason"] == expected["finish_reason"]
    assert (choice["message"]["content"] or "") == (expected["message"]["content"] or "")
    assert (choice["message"].get("reasoning") or "") == expected["message"].get("reasoning", "")
    functions = [call["function"] for call in choice["message"]["tool_calls"] or ()]
    assert [(each["name"], each["arguments"]) for each in functions] == [
        (each["function"]["name"], each["function"]["arguments"]) for each in expected["message"].get("tool_calls", ())
    ]
    assert together["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


@given(answers)
def test_a_response(chunks: list[Chunk]) -> None:
    told = ResponseEvents(checked(ResponseBody, {"model": "hello", "input": "Hi"}), "resp_1")
    events = [*told.begin(), *(event for chunk in chunks for event in told.add(chunk))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    begun = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert done == told.response["output"] == events[-1]["response"]["output"]
    assert begun == [item["id"] for item in done]
    deltas: dict[str, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
    assert [deltas[item["id"]] for item in done] == [_text(item) for item in done]


def _text(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    (part,) = item["summary"] if item["type"] == "reasoning" else item["content"]
    return str(part["text"])


@given(answers, st.booleans())
def test_a_message(chunks: list[Chunk], thinks: bool) -> None:
    thinking = {"type": "enabled" if thinks else "disabled"}
    body = {"model": "hello", "max_tokens": 7, "messages": [{"role": "user", "content": "Hi"}], "thinking": thinking}
    told = MessageEvents(checked(MessagesBody, body))
    blocks: list[dict[str, Any]] = []
    for event in (*told.begin(9), *(event for chunk in chunks for event in told.add(chunk))):
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]))
        if event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] += delta[name]
            if "partial_json" in delta:
                block["input"] = json.loads(delta["partial_json"])
    assert blocks == told.message["content"]
    assert thinks or not any(block["type"] == "thinking" for block in blocks)
