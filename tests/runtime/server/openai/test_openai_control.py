"""What bounds and forms an answer: forced calls, schemas, scores, seeds, stops, biases; by OpenAI's own client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tokenizers import Tokenizer

from tests.runtime.server.openai.asking import ANSWER, LOCK, MODEL, WEATHER, City

TOKENIZER = Path(__file__).parents[4] / "examples/hello/model/tokenizer.json"


def test_a_call_can_be_required_named_and_forbidden(client: openai.OpenAI) -> None:
    def ask(choice: Any, tools: Any = (WEATHER,)) -> Any:
        return client.chat.completions.create(
            model=MODEL, messages=LOCK, tools=list(tools), tool_choice=choice, reasoning_effort="none", max_tokens=200
        ).choices[0]

    other = {"type": "function", "function": {"name": "tell_time", "parameters": {"type": "object", "properties": {}}}}
    for choice, tools, name in (
        ("required", (WEATHER,), "get_weather"),
        ({"type": "function", "function": {"name": "tell_time"}}, (WEATHER, other), "tell_time"),
    ):
        called = ask(choice, tools)
        assert called.finish_reason == "tool_calls"
        assert [call.function.name for call in called.message.tool_calls] == [name]
        json.loads(called.message.tool_calls[0].function.arguments)
    free = ask("none")
    assert free.message.tool_calls is None
    assert free.message.content == ANSWER


def test_an_answer_has_the_form_that_was_asked_for(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me of Rome."}]
    parsed = client.chat.completions.parse(model=MODEL, messages=messages, response_format=City, max_tokens=200)
    assert isinstance(parsed.choices[0].message.parsed, City)
    done = client.chat.completions.create(
        model=MODEL, messages=messages, response_format={"type": "json_object"}, max_tokens=200
    )
    assert isinstance(json.loads(done.choices[0].message.content or ""), dict)
    told = client.responses.parse(model=MODEL, input="Tell me of Rome.", text_format=City, max_output_tokens=300)
    assert isinstance(told.output_parsed, City)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=messages,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}},
        )
    assert caught.value.status_code == 400


def test_tokens_come_with_their_scores(client: openai.OpenAI) -> None:
    settings: Any = {"model": MODEL, "messages": LOCK, "logprobs": True, "top_logprobs": 2}
    done = client.chat.completions.create(**settings)
    scores = done.choices[0].logprobs
    assert scores is not None
    assert scores.content is not None
    assert b"".join(bytes(each.bytes or ()) for each in scores.content).decode().strip() == ANSWER
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in scores.content)
    assert all(each.top_logprobs[0].logprob >= each.top_logprobs[1].logprob for each in scores.content)
    streamed = [
        each.token
        for chunk in client.chat.completions.create(**settings, stream=True)
        if chunk.choices[0].logprobs
        for each in chunk.choices[0].logprobs.content or ()
    ]
    assert streamed == [each.token for each in scores.content]


def test_several_choices_differ_by_seeds_that_count_up(client: openai.OpenAI) -> None:
    story: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me a story."}]
    settings: Any = {
        "model": MODEL,
        "messages": story,
        "temperature": 1.5,
        "max_tokens": 20,
        "reasoning_effort": "none",
    }
    both = client.chat.completions.create(**settings, n=2, seed=7)
    texts = [choice.message.content for choice in both.choices]
    assert [choice.index for choice in both.choices] == [0, 1]
    assert texts[0] != texts[1]
    alone = [client.chat.completions.create(**settings, seed=seed).choices[0].message.content for seed in (7, 8)]
    assert texts == alone
    streamed = {0: "", 1: ""}
    for chunk in client.chat.completions.create(**settings, n=2, seed=7, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert list(streamed.values()) == texts


def test_bounds_stops_and_biases_hold(client: openai.OpenAI) -> None:
    def ask(**settings: Any) -> Any:
        done = client.chat.completions.create(model=MODEL, messages=LOCK, reasoning_effort="none", **settings)
        return done.choices[0].message.content, done.choices[0].finish_reason, done.usage

    text, reason, usage = ask(max_completion_tokens=3)
    assert (reason, usage.completion_tokens) == ("length", 3)
    assert ANSWER.startswith(text)
    assert ask(stop=["beside"])[:2] == ("A lock is a file ", "stop")
    assert ask(stop="beside", max_tokens=100)[1] == "stop"
    first = Tokenizer.from_file(str(TOKENIZER)).encode("A").ids[0]
    assert not ask(logit_bias={str(first): -100})[0].startswith("A")


def test_completions_go_on_with_texts_and_tokens(client: openai.OpenAI) -> None:
    two = client.completions.create(model=MODEL, prompt=["A lock is", "A variant is"], max_tokens=8, echo=True, n=2)
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    assert [choice.text.split(" is")[0] for choice in two.choices] == ["A lock", "A lock", "A variant", "A variant"]
    assert two.usage is not None
    assert two.usage.completion_tokens == 32
    scored = client.completions.create(model=MODEL, prompt="A lock is", max_tokens=4, logprobs=2)
    scores = scored.choices[0].logprobs
    assert scores is not None
    assert "".join(scores.tokens or ()) == scored.choices[0].text
    assert scores.text_offset is not None
    assert scores.text_offset[0] == 0
    assert [len(each) for each in scores.top_logprobs or ()] == [2] * 4
    streamed = client.completions.create(model=MODEL, prompt="A lock is", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == scored.choices[0].text
