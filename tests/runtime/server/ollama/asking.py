"""Short ways to ask the native API."""

from __future__ import annotations

import json
from typing import Any

import httpx

LOCK = {"role": "user", "content": "What is a lock?"}
LOCK_ANSWER = "A lock is a file beside the spec that pins every source by its digest."
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def post(client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    """Ask for one JSON object."""
    return client.post(path, json={"stream": False, **fields})


def lines(client: httpx.Client, path: str, **fields: Any) -> list[dict[str, Any]]:
    """Ask for a stream; its objects."""
    answer = client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def error(answer: httpx.Response) -> tuple[int, str]:
    """The status and the message of an error."""
    assert answer.headers["content-type"].startswith("application/json"), answer.text
    return answer.status_code, answer.json()["error"]
