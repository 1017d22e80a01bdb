"""A model that embeds, created over the API from its files, and asked by the official clients and by LangChain."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

from tests.mlxbuild.conftest import CommandLine
from tests.mlxbuild.serving.conftest import ServeProcess
from tests.mlxbuild.test_embedding_models import write_source

ANSWER = "A lock is a file beside the spec that pins every source by its digest."


def create_embedder(served: ServeProcess, name: str, folder: Path) -> str:
    """Create a model of the files in a folder."""
    with ollama.Client(served.url) as client:
        files = {
            path.relative_to(folder).as_posix(): client.create_blob(path)
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert client.create(name, files=files).status == "success"
    return name


@pytest.fixture(scope="module")
def embedder(served: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny BERT at the server."""
    return create_embedder(served, "embedder", write_source(tmp_path_factory.mktemp("bert"), "bert"))


def length(vector: object) -> float:
    return math.hypot(*vector)  # type: ignore[misc]


def test_embed(client: ollama.Client, embedder: str) -> None:
    told = client.embed(embedder, ["t5 t6", "t7"])
    assert told.prompt_eval_count
    assert told.total_duration
    assert [len(vector) for vector in told.embeddings] == [16, 16]
    assert all(math.isclose(length(vector), 1, rel_tol=1e-5) for vector in told.embeddings)
    (short,) = client.embed(embedder, "t5 t6", dimensions=4).embeddings
    assert len(short) == 4
    assert math.isclose(length(short), 1, rel_tol=1e-5)
    assert client.show(embedder).capabilities == ["embedding"]


def test_the_command_prints_a_vector_for_each_text(served: ServeProcess, embedder: str) -> None:
    here = CommandLine(served.home.root, served.home)
    told = {}
    for way in ((), ("--embedded",)):
        done = here("embed", embedder, "t5 t6", "t7", *way, env={"MLXBUILD_HOST": served.url})
        assert done.code == 0, done.err
        told[way] = [json.loads(line) for line in done.out.splitlines()]
        assert [len(vector) for vector in told[way]] == [16, 16]
        assert math.isclose(length(told[way][0]), 1, rel_tol=1e-5)
    for asked, computed in zip(told[()], told[("--embedded",)], strict=True):
        assert asked == pytest.approx(computed, abs=1e-5)
    lines = here(
        "embed", embedder, "--json", "--dimensions", "4", stdin="t5 t6\nt7\n", env={"MLXBUILD_HOST": served.url}
    )
    said = json.loads(lines.out)
    assert (said["model"], [len(vector) for vector in said["embeddings"]]) == (embedder, [4, 4])
    assert said["prompt_tokens"] > 0
    refused = here("run", embedder, "Hi", "--embedded")
    assert refused.code == 2
    assert "`mlxbuild embed NAME TEXT`" in refused.err


def test_a_model_that_was_trained_on_less_than_its_context_says_so_everywhere(
    served: ServeProcess, raw: httpx.Client, tmp_path: Path
) -> None:
    folder = write_source(tmp_path, "bert")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    name = create_embedder(served, "brief", folder)
    assert raw.post("/api/embed", json={"model": name, "input": "t5 " * 6, "truncate": False}).status_code == 200
    refused = raw.post("/api/embed", json={"model": name, "input": "t5 " * 7, "truncate": False})
    assert "has 9 tokens, and the model reads 8" in refused.json()["error"]
    told = raw.get(f"/v1/models/{name}").json()
    anthropic = raw.get(f"/v1/models/{name}", headers={"anthropic-version": "2023-06-01"}).json()
    assert (told["max_model_len"], told["context_length"], anthropic["max_input_tokens"]) == (8, 8, 8)
    assert raw.post("/api/show", json={"model": name}).json()["model_info"]["bert.context_length"] == 8
    (loaded,) = [each for each in raw.get("/api/ps").json()["models"] if each["name"].startswith(name)]
    (listed,) = [each for each in raw.get("/api/tags").json()["models"] if each["name"].startswith(name)]
    assert (loaded["context_length"], listed["details"]["context_length"]) == (8, 8)


def test_the_older_form(client: ollama.Client, embedder: str) -> None:
    (vector,) = client.embed(embedder, "t5 t6").embeddings
    assert list(client.embeddings(embedder, "t5 t6").embedding) == pytest.approx(list(vector))


def test_what_embed_refuses(client: ollama.Client, raw: httpx.Client, embedder: str) -> None:
    def told(path: str, **fields: object) -> tuple[int, object]:
        answer = raw.post(path, json=fields)
        return answer.status_code, answer.json().get("error")

    assert told("/api/embed", input="x") == (404, "model '' not found")
    assert told("/api/embeddings", prompt="x") == (400, "model is required")
    missing = 'model "nobody" not found, try pulling it first'
    assert told("/api/embed", model="nobody", input="x") == told("/api/embeddings", model="nobody") == (404, missing)
    assert told("/api/embed", model=embedder, input=5) == (400, "invalid input type")
    assert told("/api/embed", model=embedder, input=["x", 5]) == (400, "invalid input type")
    assert raw.post("/api/embed", json={"model": embedder}).json() == {"model": embedder, "embeddings": []}
    assert raw.post("/api/embeddings", json={"model": embedder, "prompt": ""}).json() == {"embedding": []}
    assert told("/api/embed", model="hello", input="x") == (200, None)  # any model's last states are a vector
    long = "t5 " * 500
    status, message = told("/api/embed", model=embedder, input=long, truncate=False)
    assert status == 400
    assert "context length" in str(message)
    assert raw.post("/api/embed", json={"model": embedder, "input": long}).status_code == 200
    assert told("/api/chat", model=embedder, messages=[{"role": "user", "content": "t5"}]) == (
        400,
        f'"{embedder}" does not support chat',
    )
    assert told("/api/generate", model=embedder, prompt="t5") == (400, f'"{embedder}" does not support generate')


@pytest.fixture
def chat(served: ServeProcess) -> Iterator[ChatOllama]:
    """LangChain's chat model."""
    chat = ChatOllama(model="hello", base_url=served.url, reasoning=False, temperature=0)
    yield chat
    _close(chat)


def _close(model: Any) -> None:
    """What LangChain leaves to the garbage collection."""
    model._client.close()


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f'{{"city": "{city}", "temperature": 21, "sky": "sunny"}}'


def test_langchain_chats_and_calls(chat: ChatOllama) -> None:
    assert chat.invoke("What is a lock?").content == ANSWER
    assert "".join(str(piece.content) for piece in chat.stream("What is a lock?")) == ANSWER
    asked = chat.bind_tools([get_weather])
    question = HumanMessage("What is the weather in Oslo?")
    called = asked.invoke([question])
    assert isinstance(called, AIMessage)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"], name="get_weather")
    assert "Oslo" in str(asked.invoke([question, called, result]).content)


def test_langchain_asks_for_a_form(chat: ChatOllama) -> None:
    schema = {
        "title": "Counted",
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["count"],
        "additionalProperties": False,
    }
    told = chat.with_structured_output(schema, method="json_schema").invoke("Count.")
    assert 0 <= told["count"] <= 9  # type: ignore[index]


def test_langchain_tells_errors(chat: ChatOllama) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nobody' not found") as missing:
        chat.model_copy(update={"model": "nobody"}).invoke("What is a lock?")
    assert missing.value.status_code == 404


def test_langchain_completes_and_embeds(served: ServeProcess, embedder: str) -> None:
    completing = OllamaLLM(model="hello", base_url=served.url, reasoning=False)
    assert completing.invoke("What is a lock?") == ANSWER
    embedding = OllamaEmbeddings(model=embedder, base_url=served.url)
    assert [len(vector) for vector in embedding.embed_documents(["t5 t6", "t7"])] == [16, 16]
    _close(completing)
    _close(embedding)
