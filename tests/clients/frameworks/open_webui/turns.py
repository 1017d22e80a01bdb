"""An answer, a form, a tool and a stream by Open WebUI, which its own HTTP API is asked for; prints them as JSON.

It is started with an empty folder, and its first account made, as a browser would do it. It asks our server by Ollama's
API for its own chats, and by OpenAI's where its connection is asked. Arguments: the server's URL.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
}


@contextmanager
def open_webui(url: str, folder: Path) -> Iterator[httpx.Client]:
    """A client of a running Open WebUI, signed up as its administrator."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    settings = {
        "DATA_DIR": str(folder),
        "FROM_INIT_PY": "true",
        "WEBUI_SECRET_KEY": secrets.token_hex(),
        "OLLAMA_BASE_URL": url,
        "OPENAI_API_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "unused",
        "RAG_EMBEDDING_ENGINE": "ollama",
        "OFFLINE_MODE": "true",
        "ANONYMIZED_TELEMETRY": "false",
        "DO_NOT_TRACK": "true",
    }
    command = [sys.executable, "-S", "-m", "uvicorn", "open_webui.main:app", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            until = time.monotonic() + 300
            while not lives(client):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.5)
            account = {"name": "somebody", "email": "somebody@example.com", "password": secrets.token_hex()}
            signed_up = client.post("/api/v1/auths/signup", json=account).raise_for_status().json()
            client.headers["Authorization"] = f"Bearer {signed_up['token']}"
            yield client
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def lives(client: httpx.Client) -> bool:
    """Whether it answers."""
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def told(client: httpx.Client, path: str) -> dict:
    """What was got by one of its routes for chats."""

    def asked(*messages: dict, **others: Any) -> dict:
        body = {"model": "hello:int4", "messages": messages, **others}
        return client.post(path, json=body).raise_for_status().json()["choices"][0]["message"]

    def asking(question: str) -> dict:
        return {"role": "user", "content": question}

    answer = asked(asking("What is a lock?"))["content"]
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    form = json.loads(asked(asking("Tell me of Rome."), response_format=schema)["content"])

    question = asking("What is the weather in Rome?")
    (call,) = asked(question, tools=[WEATHER])["tool_calls"]
    city = json.loads(call["function"]["arguments"])["city"]
    result = json.dumps({"city": city, "temperature": 21, "condition": "sunny"})
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    found = {"role": "tool", "tool_call_id": call["id"], "content": result}
    said = asked(question, calling, found, tools=[WEATHER])["content"]

    pieces = []
    body = {"model": "hello:int4", "messages": [asking("What is a lock?")], "stream": True}
    with client.stream("POST", path, json=body) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line.removeprefix("data: ")).get("choices") or []
                pieces += [choice["delta"].get("content") or "" for choice in choices]
    return {"answer": answer, "form": form, "cities": [city], "said": said, "pieces": pieces}


def main(url: str) -> None:
    """Ask in each way."""
    with tempfile.TemporaryDirectory() as folder, open_webui(url, Path(folder)) as client:
        models = client.get("/api/models").raise_for_status().json()["data"]
        assert "hello:int4" in {model["id"] for model in models}, models
        paths = {"chat": "/openai/chat/completions", "ollama": "/api/chat/completions"}
        print(json.dumps({way: told(client, path) for way, path in paths.items()}))


main(sys.argv[1])
