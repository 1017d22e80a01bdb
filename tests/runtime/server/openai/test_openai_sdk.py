"""OpenAI's own Python client against a real server and the example: what people do with it, end to end."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

import openai
import pytest

from tests.runtime.server.openai.asking import ANSWER, LOCK, MODEL, RESULT, TOLD, WEATHER, asking_for_rome
from tests.runtime.server.running import RunningServer


def test_a_chat(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model=MODEL, messages=LOCK, reasoning_effort="none")
    (choice,) = done.choices
    assert choice.message.content == ANSWER
    assert choice.finish_reason == "stop"
    assert (done.model, done.object) == (MODEL, "chat.completion")
    assert done.id.startswith("chatcmpl-")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.usage.completion_tokens > 10


def test_a_chat_is_streamed_as_it_comes(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=LOCK, reasoning_effort="none", stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    *parts, finish, usage = chunks
    assert "".join(part.choices[0].delta.content or "" for part in parts) == ANSWER
    assert len(parts) > 5
    assert [part.choices[0].delta.role for part in parts] == ["assistant"] + [None] * (len(parts) - 1)
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens >= len(parts)
    assert {chunk.id for chunk in chunks} == {usage.id}


def test_clients_of_an_event_loop_are_answered_too(hello_server: RunningServer) -> None:
    async def ask() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=f"{hello_server.url}/v1", api_key="x", max_retries=0) as client:
            done = await client.chat.completions.create(model=MODEL, messages=LOCK, reasoning_effort="none")
            stream = await client.chat.completions.create(
                model=MODEL, messages=LOCK, reasoning_effort="none", stream=True
            )
            text = ""
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            return done.choices[0].message.content, text

    assert asyncio.run(ask()) == (ANSWER, ANSWER)


@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_a_tool_is_called_and_its_result_told(client: openai.OpenAI, *, streams: bool, thinks: bool) -> None:
    settings: Any = {"model": MODEL, "tools": [WEATHER], "reasoning_effort": "high" if thinks else "none"}
    messages = asking_for_rome()
    for expected in ("tool_calls", "stop"):
        if streams:
            with client.chat.completions.stream(messages=messages, **settings) as stream:
                done = stream.until_done().get_final_completion()
        else:
            done = client.chat.completions.create(messages=messages, **settings)
        (choice,) = done.choices
        assert choice.finish_reason == expected
        assert bool(getattr(choice.message, "reasoning_content", None)) is thinks
        if expected == "tool_calls":
            (call,) = choice.message.tool_calls or []
            assert call.type == "function"
            assert call.function.name == "get_weather"
            assert json.loads(call.function.arguments) == {"city": "Rome"}
            messages = [
                *messages,
                choice.message.model_dump(exclude_none=True, exclude={"parsed"}),
                {"role": "tool", "tool_call_id": call.id, "content": RESULT},
            ]
    assert re.fullmatch(TOLD, choice.message.content or "")


def test_models(client: openai.OpenAI) -> None:
    models = (model for model in client.models.list() if model.id.startswith("hello:"))
    listed = {model.id: model.model_dump()["aliases"] for model in models}
    assert sorted(listed) == ["hello:int4", "hello:int8", "hello:none"]
    assert listed["hello:int4"] == ["hello:int4-1.0", "hello:latest"]
    for name in ("hello:latest", *listed["hello:none"]):
        assert client.models.retrieve(name).id == name
    one = client.models.retrieve(MODEL)
    assert (one.id, one.object, one.owned_by) == (MODEL, "model", "library")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("acme/models/unknown")


def test_texts_become_vectors_of_length_one(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model=MODEL, input=["What is a lock?", "Who are you?"], dimensions=8)
    assert [item.index for item in made.data] == [0, 1]
    for item in made.data:
        assert math.hypot(*item.embedding) == pytest.approx(1, abs=1e-5)
        assert len(item.embedding) == 8
    assert made.usage.prompt_tokens > 4
    plain = client.embeddings.create(model=MODEL, input="What is a lock?", dimensions=8, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(made.data[0].embedding, abs=1e-5)
    tokens = client.embeddings.create(model=MODEL, input=[[1, 2, 3], [4]])
    assert tokens.usage.prompt_tokens == 4
    with pytest.raises(openai.BadRequestError, match="2048"):
        client.embeddings.create(model=MODEL, input="What? " * 3000)


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="unknown", messages=LOCK)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], temperature=9)
    assert refused.value.param == "temperature"
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "What? " * 3000}])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "What? " * 3000}], stream=True
        )
    with pytest.raises(openai.BadRequestError, match="no response `resp_1` is kept") as forgotten:
        client.responses.create(model=MODEL, input="x", previous_response_id="resp_1")
    assert (forgotten.value.code, forgotten.value.param) == ("previous_response_not_found", "previous_response_id")
