"""The official ollama client for Python, unmodified, against `mlxbuild serve`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import httpx
import ollama
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.mlxbuild.serving.conftest import ROOT, ServeProcess
from tests.registries import docker_registry

QUESTION = [{"role": "user", "content": "What is a lock?"}]
ANSWER = "A lock is a file beside the spec that pins every source by its digest."
MODEL = ROOT / "examples" / "hello" / "model"


def get_weather(city: str) -> str:
    """Get the current weather in a city.

    Args:
        city: The name of the city.
    """
    return json.dumps({"city": city, "temperature": 21, "sky": "sunny"})


def test_chat_and_stream(client: ollama.Client) -> None:
    whole = client.chat("hello", QUESTION, think=False)
    assert whole.message.content == ANSWER
    assert whole.done_reason == "stop"
    assert whole.eval_count
    pieces = list(client.chat("hello", QUESTION, think=True, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == ANSWER
    assert "".join(piece.message.thinking or "" for piece in pieces)
    assert [piece.done for piece in pieces].count(True) == 1


def test_generate_and_stream(client: ollama.Client) -> None:
    assert client.generate("hello", "What is a lock?", think=False).response == ANSWER
    pieces = list(client.generate("hello", "What is a lock?", think=False, stream=True))
    assert "".join(piece.response for piece in pieces) == ANSWER


def test_raw(client: ollama.Client) -> None:
    prompt = "<|im_start|>user\nWhat is a lock?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    told = client.generate("hello", prompt, raw=True)
    assert told.response == ANSWER
    assert told.context is None


def test_tools_with_a_python_function(client: ollama.Client) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    told = client.chat("hello", messages, tools=[get_weather], think=False)
    assert told.message.tool_calls
    for call in told.message.tool_calls:
        assert call.function.name == "get_weather"
        messages += [told.message, {"role": "tool", "tool_name": "get_weather", "content": get_weather("Oslo")}]
    assert "Oslo" in (client.chat("hello", messages, tools=[get_weather], think=False).message.content or "")


class Counted(BaseModel):
    """What answers in a form tell."""

    model_config = ConfigDict(extra="forbid")
    city: Literal["Oslo", "Rome"]
    count: int = Field(ge=0, le=9)


@pytest.mark.parametrize("thinks", [True, False])
def test_structured_output(client: ollama.Client, *, thinks: bool) -> None:
    form, question = Counted.model_json_schema(), QUESTION[0]["content"]
    told = client.chat("hello", QUESTION, format=form, think=thinks)
    Counted.model_validate_json(told.message.content or "")
    assert bool(told.message.thinking) is thinks
    pieces = list(client.chat("hello", QUESTION, format=form, think=thinks, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == told.message.content
    Counted.model_validate_json(client.generate("hello", question, format=form, think=thinks).response)
    assert isinstance(json.loads(client.generate("hello", question, format="json", think=thinks).response), dict)


def test_structured_output_that_cannot_be_held_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="Unimplemented keys") as refused:
        client.chat("hello", QUESTION, format={"not": {}})
    assert refused.value.status_code == 400


def test_list_show_ps_and_stop(client: ollama.Client, served: ServeProcess) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"hello:latest", "hello:none-1.0"} <= set(listed)
    assert "hello:int4-1.0" not in listed
    shown = client.show("hello")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.details is not None
    assert shown.details.format == "safetensors"
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen3.context_length"] == 2048
    assert "num_ctx" in (shown.parameters or "")
    client.generate("hello", keep_alive="10m")
    (running,) = [model for model in client.ps().models if model.digest == listed["hello:latest"].digest]
    assert running.context_length == 2048
    client.generate("hello", keep_alive=0)
    assert listed["hello:latest"].digest not in [model.digest for model in client.ps().models]


def test_copy_and_delete(client: ollama.Client) -> None:
    client.copy("hello", "copied")
    listed = {model.model: model.digest for model in client.list().models}
    assert listed["copied:latest"] == listed["hello:latest"]
    assert client.delete("copied").status == "success"
    assert "copied:latest" not in {model.model for model in client.list().models}
    with pytest.raises(ollama.ResponseError, match="model 'copied' not found"):
        client.delete("copied")


def test_create_from_a_model(client: ollama.Client) -> None:
    statuses = [
        piece.status
        for piece in client.create(
            "brief:v1",
            from_="hello:none-1.0",
            system="Be brief.",
            parameters={"num_predict": 7, "stop": ["\n\n"], "temperature": 0.5},
            quantize="int8",
            stream=True,
        )
    ]
    assert statuses[-1] == "success"
    shown = client.show("brief:v1")
    assert shown.details is not None
    assert "8bit" in (shown.details.quantization_level or "")
    assert 'SYSTEM """Be brief."""' in (shown.modelfile or "")
    assert client.chat("brief:v1", QUESTION, think=False).eval_count == 7
    assert client.create("brief:v2", from_="brief:v1", system="Be very brief.").status == "success"
    assert "num_predict                    7" in (client.show("brief:v2").parameters or "")


def test_create_from_files(client: ollama.Client) -> None:
    files = {path.name: client.create_blob(path) for path in MODEL.iterdir()}
    assert files["config.json"] == f"sha256:{hashlib.sha256((MODEL / 'config.json').read_bytes()).hexdigest()}"
    assert client.create("uploaded", files=files, quantize="q4_K_M").status == "success"
    assert client.chat("uploaded", QUESTION, think=False).message.content


def test_push_and_pull(client: ollama.Client, tmp_path: Path, served: ServeProcess) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/acme/hello:int4-1.0"
        client.copy("hello", name)
        pushed = list(client.push(name, stream=True))
        assert pushed[0].status == "retrieving manifest"
        assert pushed[-1].status == "success"
        moved = {piece.digest: piece for piece in pushed if piece.digest}
        assert all(piece.completed == piece.total for piece in moved.values())
        client.delete(name)
        pulled = list(client.pull(name, stream=True))
        assert [pulled[0].status, pulled[-1].status] == ["pulling manifest", "success"]
        assert client.chat(name, QUESTION, think=False).message.content == ANSWER
        assert client.pull(name).status == "success"
        assert client.push(name).status == "success"
        client.copy("hello:none-1.0", name)
        with pytest.raises(ollama.ResponseError, match=r"is sha256:\w+ already, and would become sha256:") as moves:
            client.push(name)
        assert moves.value.status_code == 400
        forced = httpx.post(f"{served.url}/api/push", json={"model": name, "force": True, "stream": False}, timeout=60)
        assert forced.json() == {"status": "success"}
        with pytest.raises(ollama.ResponseError) as refused:
            client.pull(f"{registry.host}/acme/nothing:1")
        assert refused.value.status_code >= 400
        with pytest.raises(ollama.ResponseError):
            list(client.pull(f"{registry.host}/acme/nothing:1", stream=True))
        client.delete(name)


def test_errors(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nobody' not found") as missing:
        client.chat("nobody", QUESTION)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support vision"):
        client.chat("hello", [{"role": "user", "content": "What is this?", "images": [b"\x89PNG"]}])
    with pytest.raises(ollama.ResponseError, match=r"blob .* not found"):
        client.create("none", files={"config.json": f"sha256:{'0' * 64}"})
    with pytest.raises(ollama.ResponseError, match="neither 'from' or 'files'"):
        client.create("none")
    with pytest.raises(ollama.ResponseError, match="there is no quantization"):
        client.create("none", from_="hello", quantize="q99")


def test_the_async_client(served: ServeProcess) -> None:
    async def ask() -> str:
        async with ollama.AsyncClient(served.url) as client:
            pieces = [piece async for piece in await client.chat("hello", QUESTION, think=False, stream=True)]
        return "".join(piece.message.content or "" for piece in pieces)

    assert asyncio.run(ask()) == ANSWER
