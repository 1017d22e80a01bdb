"""Drafts and quantized keys and values, as a server's settings and single requests ask for them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import ollama
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.serving.conftest import PROGRAM, ServeProcess, serving
from tests.mlxbuild.serving.test_faults import soon
from tests.mlxbuild.test_embedding_models import write_source
from tests.runtime.tiny_folders import write_model

TARGET, DRAFT = "hello:none-1.0", "hello:int4-1.0"
DRAFTS = {
    "hello:none@1.0": "hello:int4@1.0",
    "hello:int4*": "nobody:q4",
    "hello:int8-1.0": "stranger",
    "stranger": "embedder",
    "embedder": "hello:int4@1.0",
}
QUESTIONS = [
    [{"role": "user", "content": text}]
    for text in ("What is a lock?", "What is a variant?", "What is mlxbuild?", "What is a gate?", "Who are you?")
]


@pytest.fixture(scope="module")
def home(built_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With two models more: one with other tokens and narrow heads, and one that only embeds."""
    folders = {
        "stranger": write_model(tmp_path_factory.mktemp("stranger") / "model"),
        "embedder": write_source(tmp_path_factory.mktemp("embedder"), "bert"),
    }
    with serving(built_home) as server, ollama.Client(server.url) as client:
        for name, folder in folders.items():
            files = [file for file in folder.rglob("*") if file.is_file() and file.parent.name != "mlxbuild"]
            blobs = {file.relative_to(folder).as_posix(): client.create_blob(file) for file in files}
            assert client.create(name, files=blobs).status == "success"
    return built_home


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[ServeProcess]:
    """A server that knows drafts."""
    written = ", ".join(f"{target} = {draft}" for target, draft in DRAFTS.items())
    with serving(home, environment={"MLXBUILD_DRAFTS": written}) as server:
        yield server


@pytest.fixture
def client(server: ServeProcess) -> Iterator[httpx.Client]:
    """A plain client of it."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def chat(client: httpx.Client, model: str, messages: Any, **options: Any) -> httpx.Response:
    asked = {"model": model, "messages": messages, "think": False, "stream": False, "options": options}
    return client.post("/api/chat", json=asked)


def text(client: httpx.Client, model: str, messages: Any, **options: Any) -> str:
    answer = chat(client, model, messages, **options)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["message"]["content"])


def drafted_and_accepted(client: httpx.Client) -> tuple[float, float]:
    """As of one moment: what the server knows of its models is renewed now and then."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.labels.get("model") == TARGET]
    known = {sample.name: sample.value for sample in samples}
    return known["mlxbuild_model_speculative_draft_tokens"], known["mlxbuild_model_speculative_accepted_tokens"]


def resident(client: httpx.Client, name: str) -> dict[str, Any]:
    return next(each for each in client.get("/api/ps").json()["models"] if each["name"] == name)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_drafted_answer_is_the_same_and_was_drafted(client: httpx.Client) -> None:
    plain = [text(client, TARGET, question, draft_num_predict=0) for question in QUESTIONS]
    assert drafted_and_accepted(client)[0] == 0
    assert [text(client, TARGET, question) for question in QUESTIONS] == plain
    soon(lambda: drafted_and_accepted(client)[1] > 10)
    drafted, accepted = drafted_and_accepted(client)
    assert drafted >= accepted


def test_answers_at_once_are_the_same_too(client: httpx.Client) -> None:
    alone = [text(client, TARGET, question, draft_num_predict=0) for question in QUESTIONS]
    with ThreadPoolExecutor(10) as threads:
        together = threads.map(lambda question: text(client, TARGET, question), QUESTIONS * 2)
    assert list(together) == alone * 2


def test_an_answer_that_is_left_in_its_middle_ends(client: httpx.Client) -> None:
    asked = {"model": TARGET, "prompt": "What", "raw": True, "options": {"temperature": 1.5, "seed": 7, "stop": []}}
    seen = threading.Event()
    with client.stream("POST", "/api/generate", json=asked) as answer:
        for line in answer.iter_lines():
            assert not json.loads(line)["done"]
            seen.set()
            break
    assert seen.is_set()
    soon(lambda: resident(client, TARGET)["requests"] == 0)
    assert text(client, TARGET, QUESTIONS[0]) == text(client, TARGET, QUESTIONS[0], draft_num_predict=0)


def test_the_draft_is_told_and_goes_with_its_model(client: httpx.Client, server: ServeProcess) -> None:
    text(client, TARGET, QUESTIONS[0])
    digests = dict(server.store.tags.items())
    told = resident(client, TARGET)
    assert told["draft"] == {"name": DRAFT, "model": DRAFT, "digest": digests[DRAFT].digest.hex}
    assert told["kv_bits"] is None
    environment = os.environ | {"OLLAMA_HOST": server.url, "MLXBUILD_HOME": str(server.home.root)}
    listed = subprocess.run([PROGRAM, "ps"], env=environment, capture_output=True, text=True, check=True).stdout
    assert DRAFT in next(line for line in listed.splitlines() if line.startswith(TARGET))
    assert client.post("/api/stop", json={"model": TARGET}).json()["unloaded"]
    assert all(each["name"] != TARGET for each in client.get("/api/ps").json()["models"])


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("hello", "draft-missing", "`nobody:q4` cannot draft for `hello:latest`: it is not in the store"),
        ("hello:int8@1.0", "draft-unusable", "`stranger` cannot draft for `hello:int8-1.0`: the draft model has other"),
        ("stranger", "draft-unusable", "`embedder` cannot draft for `stranger:latest`: the draft model only turns"),
    ],
)
def test_a_draft_that_cannot_draft_is_an_error_that_names_the_setting(
    client: httpx.Client, model: str, code: str, message: str
) -> None:
    answer = chat(client, model, QUESTIONS[0])
    assert refused(answer) == (500, code)
    assert message in answer.json()["error"]
    assert "`drafts`" in answer.json()["hint"]
    assert "MLXBUILD_DRAFTS" in answer.json()["hint"]


def test_what_embeds_has_no_draft(client: httpx.Client) -> None:
    assert client.post("/api/embed", json={"model": "embedder", "input": "t5 t6"}).status_code == 200
    assert resident(client, "embedder:latest")["draft"] is None


def test_quantized_keys_and_values_of_one_request(client: httpx.Client) -> None:
    exact = text(client, TARGET, QUESTIONS[0])
    assert text(client, TARGET, QUESTIONS[0], kv_bits=8) == exact
    assert text(client, TARGET, QUESTIONS[0], kv_bits=8, draft_num_predict=0) == exact
    assert text(client, TARGET, QUESTIONS[0], kv_bits=0) == exact
    answer = chat(client, TARGET, QUESTIONS[0], kv_bits=7)
    assert refused(answer) == (400, "invalid-option")
    assert answer.json()["error"] == "kv_bits cannot be 7"
    answer = chat(client, TARGET, QUESTIONS[0], kv_bits="eight")
    assert answer.json()["error"] == 'option "kv_bits" must be of type integer'
    asked = {"model": TARGET, "messages": QUESTIONS[0], "options": {"kv_bits": 8}, "reasoning_effort": "none"}
    told = client.post("/v1/chat/completions", json=asked).json()
    assert told["choices"][0]["message"]["content"] == exact


def test_quantized_keys_and_values_of_all_requests(home: Home) -> None:
    environment = {"OLLAMA_KV_CACHE_TYPE": "q8_0", "MLXBUILD_DRAFTS": "hello:none-*=hello:int4-1.0"}
    with serving(home, environment=environment) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        texts = [text(client, TARGET, question) for question in QUESTIONS]
        assert [text(client, TARGET, question, kv_bits=0, draft_num_predict=0) for question in QUESTIONS] == texts
        assert resident(client, TARGET)["kv_bits"] == 8
        soon(lambda: drafted_and_accepted(client)[1] > 10)
        assert chat(client, "stranger", QUESTIONS[0], num_predict=3).status_code == 200
        assert resident(client, "stranger:latest")["kv_bits"] is None
        refusal = chat(client, "stranger", QUESTIONS[0], kv_bits=8)
        assert refused(refusal) == (400, "cache-not-quantizable")
    assert "cannot be kept in 8 bits" in (home.logs / "serve.jsonl").read_text()
