"""SmolLM2 behind `mlxbuild serve`, asked by the official clients: alone, streamed, eight at once, held to a form."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import ollama
import openai
import pytest

from tests.mlxbuild.serving.conftest import ServeProcess

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
MODELS = ["smol:int8", "smol:none"]


@pytest.mark.parametrize("model", MODELS)
def test_ollama(served: ServeProcess, model: str) -> None:
    with ollama.Client(served.url) as client:
        assert client.chat(model, ASKED, options={"num_predict": 32}).message.content == ANSWER
        pieces = list(client.generate(model, QUESTION, stream=True, options={"num_predict": 32}))
        assert "".join(piece.response for piece in pieces) == ANSWER
        assert pieces[-1].done_reason == "stop"
        assert model in {each.model for each in client.ps().models}


@pytest.mark.parametrize("model", MODELS)
def test_openai(served: ServeProcess, model: str) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
        whole = client.chat.completions.create(model=model, messages=ASKED, max_tokens=32)
        assert whole.choices[0].message.content == ANSWER
        stream = client.chat.completions.create(model=model, messages=ASKED, max_tokens=32, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == ANSWER
        assert client.responses.create(model=model, input=QUESTION, max_output_tokens=32).output_text == ANSWER


def test_anthropic(served: ServeProcess) -> None:
    with anthropic.Anthropic(base_url=served.url, api_key="none") as client:
        told = client.messages.create(model="smol:int8", messages=ASKED, max_tokens=32)
        assert told.content[0].type == "text"
        assert told.content[0].text == ANSWER


def test_eight_at_once_answer_as_each_does_alone(served: ServeProcess) -> None:
    questions = [f"Tell me one fact about the number {number}." for number in (3, 7, 12, 100)] + [QUESTION] * 4

    def ask(question: str) -> str:
        with ollama.Client(served.url) as client:
            return client.generate("smol:int8", question, options={"num_predict": 12}).response

    alone = [ask(question) for question in questions[:5]]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, questions)) == [*alone, *[ANSWER] * 3]


def test_an_answer_in_a_form(served: ServeProcess) -> None:
    form = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "country": {"enum": ["France", "Italy"]}},
        "required": ["city", "country"],
        "additionalProperties": False,
    }
    with ollama.Client(served.url) as client:
        told = client.chat("smol:int8", ASKED, format=form, options={"num_predict": 64})
    assert json.loads(told.message.content or "")["country"] in ("France", "Italy")
