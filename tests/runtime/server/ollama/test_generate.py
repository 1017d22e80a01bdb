"""`/api/generate` against the contract, with the example as model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.runtime.server.ollama.asking import LOCK_ANSWER, error, lines, post


def generate(client: httpx.Client, **fields: Any) -> httpx.Response:
    return post(client, "/api/generate", **{"model": "hello", "prompt": "What is a lock?", **fields})


def test_a_stream(hello: httpx.Client) -> None:
    *pieces, end = lines(hello, "/api/generate", model="hello", prompt="What is a lock?")
    assert "".join(piece["response"] for piece in pieces) == LOCK_ANSWER
    assert "".join(piece.get("thinking", "") for piece in pieces)
    assert end["response"] == ""
    assert end["done"] is True


def test_raw(hello: httpx.Client) -> None:
    prompt = "<|im_start|>user\nWhat is a lock?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    told = generate(hello, prompt=prompt, raw=True).json()
    assert told["response"] == LOCK_ANSWER
    assert "context" not in told


def test_an_empty_prompt_loads_and_unloads(hello: httpx.Client) -> None:
    loaded = hello.post("/api/generate", json={"model": "hello"})
    assert loaded.headers["content-type"] == "application/json; charset=utf-8"
    told = loaded.json()
    assert told.pop("created_at")
    assert told == {"model": "hello", "response": "", "done": True, "done_reason": "load"}
    gone = hello.post("/api/generate", json={"model": "hello", "keep_alive": "0"}).json()
    assert gone["done_reason"] == "unload"


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": ""}, 404, "model '' not found"),
        ({"model": "nobody"}, 404, "model 'nobody' not found"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"raw": True, "system": "x"}, 400, "raw mode does not support template, system, or context"),
        ({"raw": True, "context": [1]}, 400, "raw mode does not support template, system, or context"),
        ({"suffix": "x"}, 400, "hello:latest does not support insert"),
        ({"images": ["AAAA"]}, 400, "hello:latest does not support vision"),
        ({"template": "{% if %}"}, 400, "template"),
        ({"context": ["x"]}, 400, "context"),
        ({"context": [10**9]}, 400, ""),
        ({"format": 5}, 400, "invalid format"),
        ({"options": {"seed": 1.5, "top_p": []}}, 400, 'option "top_p" must be of type float32'),
        ({"options": {"typical_p": 0.5}}, 400, "typical_p is not supported"),
        ({"options": {"temperature": 1000}}, 400, "temperature"),
    ],
)
def test_refusals(hello: httpx.Client, fields: dict[str, Any], status: int, message: str) -> None:
    told_status, told = error(generate(hello, **fields))
    assert (told_status, message in told) == (status, True), told


@pytest.mark.parametrize("path", ["generate", "chat"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature cannot be -1.0"),
        ({"top_p": 2}, "top_p cannot be 2.0"),
        ({"kv_bits": 7}, "kv_bits cannot be 7"),
        ({"draft_num_predict": 17}, "draft_num_predict cannot be 17"),
        ({"draft_num_predict": -1}, "draft_num_predict cannot be -1"),
        ({"seed": "x"}, 'option "seed" must be of type integer'),
    ],
)
def test_options_are_checked_where_nothing_is_asked(
    hello: httpx.Client, path: str, options: dict[str, Any], message: str
) -> None:
    told_status, told = error(hello.post(f"/api/{path}", json={"model": "hello", "options": options}))
    assert (told_status, message in told) == (400, True), told


def test_one_object(hello: httpx.Client) -> None:
    told = generate(hello, think=False).json()
    assert told["response"] == LOCK_ANSWER
    assert "thinking" not in told
    assert (told["done"], told["done_reason"]) == (True, "stop")
    assert all(isinstance(token, int) for token in told["context"])
    assert len(told["context"]) >= told["prompt_eval_count"] + told["eval_count"] - 1


def test_a_context_goes_before_the_prompt(hello: httpx.Client) -> None:
    first = generate(hello, think=False).json()
    second = generate(hello, prompt="What is the store?", context=first["context"], think=False).json()
    assert second["prompt_eval_count"] > len(first["context"])
    assert second["context"][: len(first["context"])] == first["context"]


def test_system_and_template(hello: httpx.Client) -> None:
    told = generate(hello, system="Be brief.", _debug_render_only=True).json()
    assert "<|im_start|>system\nBe brief.<|im_end|>" in told["_debug_info"]["rendered_template"]
    template = "{% for message in messages %}<<{{ message.content }}>>{% endfor %}"
    told = generate(hello, template=template, _debug_render_only=True).json()
    assert told["_debug_info"]["rendered_template"] == "<<What is a lock?>>"
    assert (told["response"], told["done"]) == ("", False)
