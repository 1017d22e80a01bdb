"""A runner dies in the middle of an answer: every client is told in its own words, and the next answer is whole."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from mlxbuild.runtime.protocol.loaded import Heartbeat
from mlxbuild.runtime.server.application import Application
from tests.runtime.server.running import RunningServer
from tests.runtime.vitals import at_rest

MODEL = "hello:int8@1.0"
QUESTION = "What is a lock?"
LONG: Any = {
    "type": "object",
    "properties": {"text": {"const": "on and on " * 400}},
    "required": ["text"],
    "additionalProperties": False,
}
"""A form that takes a model some time to fill."""


@pytest.fixture
def kill(hello_server: RunningServer, hello_application: Application) -> Any:
    """Ends the process that holds the model."""

    async def process_id() -> int:
        async with hello_application.residency.lease(MODEL) as lease:
            return lease.runner.process_id

    # Asked before the answer begins: it would be over before this thread had its turn.
    runner = asyncio.run_coroutine_threadsafe(process_id(), hello_server.loop).result(60)
    return lambda: os.kill(runner, signal.SIGKILL)


@pytest.fixture
def openai_client(hello_server: RunningServer) -> Iterator[openai.OpenAI]:
    """OpenAI's."""
    with openai.OpenAI(base_url=f"{hello_server.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_a_chat_breaks_off_with_an_error(openai_client: openai.OpenAI, kill: Any) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "long", "schema": LONG}}
    settings: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "reasoning_effort": "none"}
    with openai_client.chat.completions.create(**settings, response_format=form, stream=True) as stream:
        assert next(stream).choices[0].delta.content
        kill()
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.code == "runner-died"
    assert openai_client.chat.completions.create(**settings).choices[0].finish_reason == "stop"


def test_one_of_several_choices_takes_the_others_with_it(openai_client: openai.OpenAI, kill: Any) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "long", "schema": LONG}}
    with openai_client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        reasoning_effort="none",
        response_format=form,
        n=3,
        stream=True,
    ) as stream:
        next(stream)
        kill()
        with pytest.raises(openai.APIError):
            list(stream)


def test_a_response_breaks_off_with_an_error(openai_client: openai.OpenAI, kill: Any) -> None:
    text: Any = {"format": {"type": "json_schema", "name": "long", "schema": LONG}}
    with openai_client.responses.create(
        model=MODEL, input=QUESTION, reasoning={"effort": "none"}, text=text, stream=True
    ) as stream:
        events: list[Any] = []
        for event in stream:
            events.append(event)
            if len(events) == 5:
                kill()
    assert events[4].type == "response.output_text.delta"
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2].code == "runner-died"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error is not None
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_message_breaks_off_with_an_error(hello_server: RunningServer, kill: Any) -> None:
    settings: Any = {"model": MODEL, "max_tokens": 1500, "messages": [{"role": "user", "content": QUESTION}]}
    form: Any = {"format": {"type": "json_schema", "schema": LONG}}
    with anthropic.Anthropic(base_url=hello_server.url, api_key="unused", max_retries=0, timeout=60) as client:
        with client.messages.create(**settings, output_config=form, stream=True) as stream:
            for event in stream:
                if event.type == "content_block_delta":
                    break
            kill()
            with pytest.raises(anthropic.APIStatusError) as caught:
                list(stream)
        body: Any = caught.value.body
        assert body["error"]["type"] == "api_error"
        assert body["request_id"].startswith("req_")
        assert client.messages.create(**settings).stop_reason == "end_turn"


@pytest.mark.parametrize("streams", [True, False])
def test_nothing_is_computed_for_a_client_that_is_gone(
    hello_server: RunningServer, hello_application: Application, *, streams: bool
) -> None:
    async def told() -> Heartbeat:
        async with hello_application.residency.lease(MODEL) as lease:
            return await at_rest(lease.runner)

    def vitals() -> Heartbeat:
        return asyncio.run_coroutine_threadsafe(told(), hello_server.loop).result(60)

    before = vitals().engine.answer_tokens
    schema = {**LONG, "properties": {"text": {"const": "on and on " * 350}}}
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}}
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "response_format": form, "n": 3}
    url = f"{hello_server.url}/v1/chat/completions"
    if streams:
        with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as answer:
            next(answer.iter_raw())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=body, timeout=httpx.Timeout(60, read=0.2))
    after = vitals()
    assert after.engine.running == 0
    assert after.engine.answer_tokens - before < 3 * 1000


@pytest.mark.parametrize(
    ("path", "sign"),
    [
        ("chat/completions", r": \d+ of \d+ prompt tokens\n"),
        ("messages", r'event: ping\ndata: {"type":"ping"}\n'),
    ],
)
def test_a_long_prompt_is_accompanied_by_signs_of_life(hello_server: RunningServer, path: str, sign: str) -> None:
    def signs(words: int) -> int:
        text = " ".join(f"{path} {number}?" for number in range(words))
        body = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": text}], "stream": True}
        told = httpx.post(f"{hello_server.url}/v1/{path}", json=body, timeout=60).text
        return len(re.findall(sign, told))

    assert signs(150) > signs(1)
