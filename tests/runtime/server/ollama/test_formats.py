"""`format` of `/api/chat` and `/api/generate`: kept to, or refused with its reason."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import pytest

from tests.runtime.server.ollama.asking import error, lines, post

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "known": {"type": "boolean"}},
    "required": ["city", "known"],
    "additionalProperties": False,
}
QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]


@pytest.mark.parametrize("think", [True, False, None])
@pytest.mark.parametrize("form", ["json", CITY])
def test_a_chat_has_its_format_after_thinking(hello: httpx.Client, form: Any, think: bool | None) -> None:
    options = {"num_predict": 300, "temperature": 0}
    told = post(
        hello, "/api/chat", model="hello", messages=QUESTION, format=form, think=think, options=options, stream=False
    ).json()
    assert told["done_reason"] == "stop"
    document = json.loads(told["message"]["content"])
    jsonschema.validate(document, {"type": "object"} if form == "json" else CITY)
    assert bool(told["message"].get("thinking")) == (think is not False)


def test_a_stream_and_a_generated_text_have_their_format(hello: httpx.Client) -> None:
    *pieces, end = lines(hello, "/api/generate", model="hello", prompt="Oslo?", format=CITY, think=False)
    assert end["done_reason"] == "stop"
    jsonschema.validate(json.loads("".join(piece["response"] for piece in pieces)), CITY)


@pytest.mark.parametrize(
    ("form", "told"),
    [({"not": {}}, "Unimplemented keys"), ({"type": 7}, "not valid"), ({"type": "string", "pattern": "("}, "regex")],
)
def test_what_cannot_be_held_is_refused(hello: httpx.Client, form: Any, told: str) -> None:
    for stream in (True, False):
        status, message = error(post(hello, "/api/chat", model="hello", messages=QUESTION, format=form, stream=stream))
        assert status == 400
        assert told in message
