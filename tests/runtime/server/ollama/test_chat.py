"""`/api/chat` against the contract, with the example as model."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.runtime.server.ollama.asking import LOCK, LOCK_ANSWER, WEATHER_TOOL, error, lines, post
from tests.runtime.server.running import soon

COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")


def chat(client: httpx.Client, **fields: Any) -> httpx.Response:
    return post(client, "/api/chat", **{"model": "hello", "messages": [LOCK], **fields})


def test_one_object(hello: httpx.Client) -> None:
    answer = chat(hello, think=False)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    told = answer.json()
    assert told["model"] == "hello"
    assert told["message"] == {"role": "assistant", "content": LOCK_ANSWER}
    assert told["done"] is True
    assert told["done_reason"] == "stop"
    assert all(isinstance(told[name], int) and told[name] > 0 for name in COUNTS)
    assert told["total_duration"] >= told["eval_duration"] >= 1000
    assert "context" not in told
    assert told["created_at"].endswith("Z")
    assert datetime.fromisoformat(told["created_at"]).microsecond is not None


def test_a_stream_is_the_default(hello: httpx.Client) -> None:
    *pieces, end = lines(hello, "/api/chat", model="hello", messages=[LOCK], think=False)
    assert "".join(piece["message"]["content"] for piece in pieces) == LOCK_ANSWER
    assert len(pieces) > 3
    for piece in pieces:
        assert set(piece) == {"model", "created_at", "message", "done"}
        assert piece["done"] is False
    assert end["message"] == {"role": "assistant", "content": ""}
    assert set(end) == {"model", "created_at", "message", "done", "done_reason", *COUNTS}
    assert end["eval_count"] >= len(pieces)


def test_the_name_is_echoed_as_it_was_sent(hello: httpx.Client) -> None:
    for name in ("hello", "hello:latest", "HELLO:int4@1.0", " hello:int4-1.0 "):
        assert chat(hello, model=name, options={"num_predict": 1}).json()["model"] == name


def test_thinking_is_told_apart(hello: httpx.Client) -> None:
    whole = chat(hello).json()["message"]
    assert whole["thinking"]
    assert whole["content"] == LOCK_ANSWER
    assert chat(hello, think=True).json()["message"]["thinking"] == whole["thinking"]
    pieces = lines(hello, "/api/chat", model="hello", messages=[LOCK])
    assert "".join(piece["message"].get("thinking", "") for piece in pieces) == whole["thinking"]
    assert "".join(piece["message"]["content"] for piece in pieces) == LOCK_ANSWER


def test_tools_make_a_full_round_trip(hello: httpx.Client) -> None:
    question = {"role": "user", "content": "What is the weather in Oslo?"}
    first = chat(hello, messages=[question], tools=[WEATHER_TOOL], think=False).json()
    (call,) = first["message"]["tool_calls"]
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])
    assert call["function"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Oslo"}}
    assert first["done_reason"] == "stop"
    result = {"role": "tool", "tool_name": "get_weather", "content": '{"temperature": 21, "sky": "sunny"}'}
    second = chat(hello, messages=[question, first["message"], result], tools=[WEATHER_TOOL], think=False).json()
    assert "tool_calls" not in second["message"]
    assert "Oslo" in second["message"]["content"]


def test_a_call_comes_whole_in_a_stream(hello: httpx.Client) -> None:
    question = {"role": "user", "content": "What is the weather in Oslo?"}
    pieces = lines(hello, "/api/chat", model="hello", messages=[question], tools=[WEATHER_TOOL])
    calls = [call for piece in pieces for call in piece["message"].get("tool_calls", ())]
    assert [call["function"]["arguments"] for call in calls] == [{"city": "Oslo"}]
    assert pieces[-1]["done_reason"] == "stop"


def test_log_probabilities(hello: httpx.Client) -> None:
    told = chat(hello, think=False, logprobs=True, top_logprobs=2, options={"num_predict": 5}).json()
    assert "".join(each["token"] for each in told["logprobs"]) == told["message"]["content"]
    for each in told["logprobs"]:
        assert each["logprob"] <= 0
        assert bytes(each["bytes"]).decode() == each["token"]
        assert len(each["top_logprobs"]) == 2
    pieces = lines(hello, "/api/chat", model="hello", messages=[LOCK], think=False, logprobs=True)
    assert "".join(each["token"] for piece in pieces for each in piece.get("logprobs", ())) == LOCK_ANSWER
    assert error(chat(hello, top_logprobs=21)) == (400, "top_logprobs must be between 0 and 20")


def test_length_is_told(hello: httpx.Client) -> None:
    told = chat(hello, options={"num_predict": 3}).json()
    assert (told["done_reason"], told["eval_count"]) == ("length", 3)


def test_all_penalties_look_at_the_last_tokens_and_the_prompt(hello: httpx.Client) -> None:
    """OpenAI's API, to which `options` are an extension, counts in the answer whatever they say."""
    messages = [{"role": "system", "content": "file digest " * 40}, LOCK]

    def text(last: int) -> str:
        options = {"num_predict": 40, "frequency_penalty": 1, "repeat_last_n": last}
        return str(chat(hello, messages=messages, think=False, options=options).json()["message"]["content"])

    assert text(0) == text(1) == text(4) == LOCK_ANSWER
    assert "file" not in text(-1)
    openai = {"model": "hello", "messages": messages, "max_tokens": 40, "reasoning_effort": "none"}
    told = hello.post(
        "/v1/chat/completions", json={**openai, "frequency_penalty": 1, "options": {"repeat_last_n": -1}}
    ).json()
    assert told["choices"][0]["message"]["content"] == LOCK_ANSWER


def test_an_empty_conversation_loads_and_unloads(hello: httpx.Client) -> None:
    def resident() -> list[str]:
        return [model["digest"] for model in hello.get("/api/ps").json()["models"]]

    loaded = hello.post("/api/chat", json={"model": "hello"}).json()
    assert loaded.pop("created_at")
    message = {"role": "assistant", "content": ""}
    assert loaded == {"model": "hello", "message": message, "done": True, "done_reason": "load"}
    digest = hello.post("/api/show", json={"model": "hello"}).json()
    assert digest["capabilities"] == ["completion", "tools", "thinking"]
    (entry,) = [each for each in hello.get("/api/tags").json()["models"] if each["name"] == "hello:int4"]
    assert entry["digest"] in resident()
    gone = hello.post("/api/chat", json={"model": "hello", "keep_alive": 0}).json()
    assert gone["done_reason"] == "unload"
    assert entry["digest"] not in resident()
    assert hello.post("/api/chat", json={"model": "hello", "keep_alive": 0}).json()["done_reason"] == "unload"
    assert chat(hello, keep_alive=0, options={"num_predict": 1}).json()["done_reason"] == "length"
    soon(lambda: entry["digest"] not in resident())


def test_the_prompt_alone(hello: httpx.Client) -> None:
    told = chat(hello, _debug_render_only=True, think=False).json()
    assert told["_debug_info"]["image_count"] == 0
    assert "<|im_start|>user\nWhat is a lock?<|im_end|>" in told["_debug_info"]["rendered_template"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": ""}, 400, "model is required"),
        ({"model": None}, 400, "model is required"),
        ({"model": "nobody"}, 404, "model 'nobody' not found"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"model": "x:y:z"}, 400, "invalid model name"),
        ({"think": "very"}, 400, "invalid think value"),
        ({"keep_alive": "5"}, 400, "keep_alive"),
        ({"keep_alive": True}, 400, "keep_alive"),
        ({"options": {"num_predict": "5"}}, 400, 'option "num_predict" must be of type integer'),
        ({"options": {"temperature": "hot"}}, 400, 'option "temperature" must be of type float32'),
        ({"options": {"stop": "x"}}, 400, 'option "stop" must be of type array'),
        ({"options": {"use_mmap": 1}}, 400, 'option "use_mmap" must be of type boolean'),
        ({"options": {"num_ctx": True}}, 400, 'option "num_ctx" must be of type integer'),
        ({"format": "xml"}, 400, "invalid format"),
        ({"messages": "hello"}, 400, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "content"),
        ({"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}, 400, "does not support vision"),
        ({"tools": "x"}, 400, "tools"),
        ({"stream": "yes"}, 400, "stream"),
        ({"options": [1]}, 400, "options"),
    ],
)
def test_refusals(hello: httpx.Client, fields: dict[str, Any], status: int, message: str) -> None:
    told_status, told = error(chat(hello, **fields))
    assert told_status == status
    assert message in told
    streamed = hello.post("/api/chat", json={"model": "hello", "messages": [LOCK], "stream": True, **fields})
    if "stream" not in fields:
        assert error(streamed) == (told_status, told)


def test_noise_and_any_case(hello: httpx.Client) -> None:
    noise = {"options": None, "name": "", "system": "", "unknown": [1], "format": None, "keep_alive": None}
    body = {"MODEL": "hello", "Messages": [{"Role": "USER", "Content": "What is a lock?"}], "Stream": False, **noise}
    answer = hello.post("/api/chat", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert answer.json()["message"]["content"] == LOCK_ANSWER


def test_deprecated_and_unknown_options_are_passed_over(hello: httpx.Client) -> None:
    options = {"mirostat": 1, "low_vram": True, "num_gpu": 0, "brand_new": {}, "num_predict": 2, "num_ctx": 512}
    assert chat(hello, options=options).json()["eval_count"] == 2


def test_a_seed_repeats(hello: httpx.Client) -> None:
    def sampled(seed: int) -> str:
        options = {"temperature": 1.5, "seed": seed, "num_predict": 20}
        return str(chat(hello, think=False, options=options).json()["message"]["content"])

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


def test_stops(hello: httpx.Client) -> None:
    told = chat(hello, think=False, options={"stop": ["pins"]}).json()
    assert (told["message"]["content"], told["done_reason"]) == (LOCK_ANSWER.partition("pins")[0], "stop")


def test_answers_keep_to_a_form(hello: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "count"],
        "additionalProperties": False,
    }
    told = chat(hello, format=schema, think=False, options={"num_predict": 200}).json()
    assert set(json.loads(told["message"]["content"])) == {"name", "count"}
    thought = chat(hello, format=schema, options={"num_predict": 200}).json()["message"]
    assert thought["thinking"]
    assert set(json.loads(thought["content"])) == {"name", "count"}
    refused = chat(hello, format={"type": "nothing"})
    assert refused.status_code == 400


def test_a_prompt_longer_than_the_context(hello: httpx.Client) -> None:
    long = {"role": "user", "content": "word " * 3000}
    assert chat(hello, messages=[long, LOCK], think=False).json()["message"]["content"] == LOCK_ANSWER
    status, told = error(chat(hello, messages=[long, LOCK], truncate=False))
    assert status == 400
    assert "2048" in told
