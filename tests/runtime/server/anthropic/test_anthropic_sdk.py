"""Anthropic's own Python client against a real server and the example: what people do with it, end to end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import httpx
import pytest
from pydantic import BaseModel

from tests.runtime.server.running import RunningServer

MODEL = "hello"
LOCK: Any = [{"role": "user", "content": "What is a lock?"}]
ANSWER = "A lock is a file beside the spec that pins every source by its digest."
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
RESULT = '{"city": "Rome", "temperature": 21, "condition": "sunny"}'
TOLD = r"It is \d+ degrees and sunny in Rome\."


@pytest.fixture(scope="module")
def client(hello_server: RunningServer) -> Iterator[anthropic.Anthropic]:
    """Told nothing but the address."""
    with anthropic.Anthropic(base_url=hello_server.url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=100, messages=LOCK)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == ANSWER
    assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
    counted = client.messages.count_tokens(model=MODEL, messages=LOCK)
    assert message.usage.input_tokens == counted.input_tokens
    assert message.usage.output_tokens > 10
    assert (message._request_id or "").startswith("req_")


def test_a_message_is_streamed_as_it_comes(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=LOCK, system="Be kind.")
    with client.messages.stream(model=MODEL, max_tokens=100, messages=LOCK, system="Be kind.") as stream:
        begun = next(iter(stream))
        assert begun.type == "message_start"
        assert begun.message.usage.input_tokens == counted.input_tokens
        text = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(text) > 3
    assert [block.text for block in final.content if block.type == "text"] == ["".join(text)]
    assert final.usage.output_tokens >= len(text)


def test_clients_of_an_event_loop_are_answered_too(hello_server: RunningServer) -> None:
    async def ask() -> str:
        async with anthropic.AsyncAnthropic(base_url=hello_server.url, api_key="x", max_retries=0) as client:
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=LOCK) as stream:
                return await stream.get_final_text()

    assert asyncio.run(ask()) == ANSWER


@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_a_tool_is_called_and_its_result_told(client: anthropic.Anthropic, *, streams: bool, thinks: bool) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024} if thinks else {"type": "disabled"}
    settings: Any = {"model": MODEL, "max_tokens": 200, "tools": [WEATHER], "thinking": thinking}
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
    for expected in ("tool_use", "end_turn"):
        if streams:
            with client.messages.stream(messages=messages, **settings) as stream:
                message: Any = stream.get_final_message()
        else:
            message = client.messages.create(messages=messages, **settings)
        assert message.stop_reason == expected
        kinds = [block.type for block in message.content]
        assert kinds == ["thinking"] * thinks + ["tool_use" if expected == "tool_use" else "text"]
        if expected == "tool_use":
            call = message.content[-1]
            assert (call.name, call.input) == ("get_weather", {"city": "Rome"})
            content = [block.model_dump(exclude_none=True) for block in message.content]
            result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
            messages += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    assert re.fullmatch(TOLD, message.content[-1].text)


def test_a_call_can_be_required_named_and_forbidden(client: anthropic.Anthropic) -> None:
    def ask(choice: Any) -> anthropic.types.Message:
        tell_time: Any = {"name": "tell_time", "input_schema": {"type": "object", "properties": {}}}
        return client.messages.create(
            model=MODEL, max_tokens=200, messages=LOCK, tools=[WEATHER, tell_time], tool_choice=choice
        )

    for choice, names in (
        ({"type": "any", "disable_parallel_tool_use": True}, {"get_weather", "tell_time"}),
        ({"type": "tool", "name": "tell_time"}, {"tell_time"}),
    ):
        called = ask(choice)
        assert called.stop_reason == "tool_use"
        (block,) = [block for block in called.content if block.type == "tool_use"]
        assert block.name in names
    assert [block.type for block in ask({"type": "none"}).content] == ["text"]


class City(BaseModel):
    """What is asked for."""

    city: Literal["Oslo", "Rome"]
    capital: bool


def test_an_answer_has_the_form_that_was_asked_for(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(model=MODEL, max_tokens=200, messages=LOCK, output_format=City)
    assert isinstance(parsed.parsed_output, City)


def test_why_a_message_ended(client: anthropic.Anthropic) -> None:
    cut = client.messages.create(model=MODEL, max_tokens=3, messages=LOCK)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = client.messages.create(model=MODEL, max_tokens=99, messages=LOCK, stop_sequences=["zzz", "beside"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "beside")
    (block,) = stopped.content
    assert block.type == "text"
    assert block.text == "A lock is a file "


def test_an_answer_that_was_begun_goes_on(client: anthropic.Anthropic) -> None:
    begun: Any = [*LOCK, {"role": "assistant", "content": "A lock is a file beside"}]
    message = client.messages.create(model=MODEL, max_tokens=99, messages=begun)
    (block,) = message.content
    assert block.type == "text"
    assert f"A lock is a file beside{block.text}" == ANSWER


def test_errors_are_the_clients_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="unknown", max_tokens=10, messages=LOCK)
    body: Any = missing.value.body
    assert body["error"]["type"] == "not_found_error"
    assert missing.value.request_id == body["request_id"]
    assert body["request_id"].startswith("req_")
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    with pytest.raises(anthropic.BadRequestError, match="images"):
        client.messages.create(model=MODEL, max_tokens=10, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 2048 maximum"):
        client.messages.create(model=MODEL, max_tokens=10, messages=[{"role": "user", "content": "What? " * 3000}])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model=MODEL, max_tokens=0, messages=LOCK)


def test_the_stream_has_anthropics_events(hello_server: RunningServer) -> None:
    body = {"model": MODEL, "max_tokens": 3, "messages": LOCK, "stream": True}
    answer = httpx.post(f"{hello_server.url}/v1/messages", json=body, timeout=60)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    names = re.findall(r"^event: (.*)$", answer.text, re.MULTILINE)
    assert names[:2] == ["message_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]


def test_models_come_page_by_page(client: anthropic.Anthropic) -> None:
    names = [model.id for model in client.models.list().data]
    assert len(names) >= 3
    first = client.models.list(limit=2)
    assert ([model.id for model in first.data], first.has_more) == (names[:2], True)
    assert (first.first_id, first.last_id) == (names[0], names[1])
    assert [model.id for model in client.models.list(limit=2)] == names
    before = client.models.list(limit=2, before_id=names[2])
    assert ([model.id for model in before.data], before.has_more) == (names[:2], False)
    last_before = client.models.list(limit=1, before_id=names[2])
    assert ([model.id for model in last_before.data], last_before.has_more) == (names[1:2], True)
    last = client.models.list(after_id=names[-1])
    assert (last.data, last.has_more, last.first_id, last.last_id) == ([], False, None, None)
    wrong: list[Any] = [
        {"limit": 0},
        {"limit": 1001},
        {"after_id": "nobody"},
        dict.fromkeys(("after_id", "before_id"), names[0]),
    ]
    for each in wrong:
        with pytest.raises(anthropic.BadRequestError, match=r"`(limit|after_id|before_id)`"):
            client.models.list(**each)


def test_models(client: anthropic.Anthropic) -> None:
    assert "hello:int4" in {model.id for model in client.models.list()}
    one = client.models.retrieve(MODEL)
    assert (one.id, one.type) == (MODEL, "model")
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("unknown")
