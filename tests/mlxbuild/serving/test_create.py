"""Builds that are asked for over the API: whole recipes, and clients that do not wait."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import ollama
import psutil
import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from tests.mlxbuild.serving.conftest import PROGRAM, ROOT, ServeProcess
from tests.mlxbuild.serving.test_faults import soon
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf
from tests.toolchain.weights.peft_adapters import Adapter, load, merge_and_unload

MODEL = ROOT / "examples" / "hello" / "model"
QUESTION = {"role": "user", "content": "What is a lock?"}
RECIPE: dict[str, Any] = {
    "name": "told",
    "version": "2.0",
    "base": {"path": "model"},
    "system_prompt": "Be brief.",
    "variants": {"quantization": ["int8", "none"]},
    "tests": [{"complete": {"messages": [QUESTION], "expect": {"contains": "pins"}}}],
}


@pytest.fixture(scope="module")
def files(served: ServeProcess) -> dict[str, str]:
    """The example's files as blobs of the server."""
    with ollama.Client(served.url) as client:
        return {f"model/{path.name}": client.create_blob(path) for path in MODEL.iterdir()}


def create(raw: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    answer = raw.post("/api/create", json=fields)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def flat(files: dict[str, str]) -> dict[str, str]:
    """The same without their folder."""
    return {path.removeprefix("model/"): blob for path, blob in files.items()}


def post_blob(raw: httpx.Client, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert raw.post(f"/api/blobs/{digest}", content=content).status_code in (200, 201)
    return digest


def names(raw: httpx.Client) -> dict[str, str]:
    models = raw.get("/api/tags").json()["models"]
    return {name: model["digest"] for model in models for name in (model["name"], *model["details"]["aliases"])}


def test_a_recipe_is_built_and_its_gates_run(raw: httpx.Client, files: dict[str, str]) -> None:
    told = create(raw, modelspec=RECIPE, files=files, model="first-of-them")
    assert told[-1] == {"status": "success"}
    assert "running 2 gates" in [each["status"] for each in told]
    listed = names(raw)
    assert {"told:int8-2.0", "told:none-2.0", "told:int8", "told:latest"} <= set(listed)
    assert listed["first-of-them:latest"] == listed["told:int8-2.0"]
    assert raw.post("/api/show", json={"model": "told"}).json()["system"] == "Be brief."


def test_the_official_client_is_told_a_line_for_each_stage(served: ServeProcess, files: dict[str, str]) -> None:
    """It shows one line for each status, and one bar for each digest."""
    with ollama.Client(served.url) as client:
        told = list(client.create("staged", stream=True, files=flat(files), quantize="mxfp8"))
    bars: dict[str, list[tuple[int, int]]] = {}
    for each in told:
        if each.digest is not None:
            assert each.total is not None
            assert each.completed is not None
            bars.setdefault(str(each.status), []).append((each.completed, each.total))
    lines = [each.status for each in told if each.digest is None]
    assert list(dict.fromkeys(bars)) == ["reading 6 files", "quantizing 6 blocks"]
    for measured in bars.values():
        assert measured == sorted(measured)
        assert measured[-1][0] == measured[-1][1] > 0
    assert "packing 1 artifact" in lines
    assert any(str(line).startswith("building staged:mxfp8@") for line in lines)
    assert lines[-2:] == ["writing manifest staged:latest", "success"]
    assert len(lines) < 12


def test_a_recipe_as_yaml(raw: httpx.Client, files: dict[str, str]) -> None:
    text = 'name: written\nversion: "1.0"\nbase: {path: model}\n'
    assert create(raw, modelspec=text, files=files)[-1] == {"status": "success"}
    assert "written:latest" in names(raw)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"nmae": "x"}, 400, "nmae"),
        ({"base": {"path": "/etc"}}, 400, "/etc"),
        ({"base": {"path": "../../.."}}, 400, ""),
        ({"system_prompt": {"file": "/etc/hostname"}}, 400, ""),
    ],
)
def test_recipes_that_are_refused(
    raw: httpx.Client, files: dict[str, str], change: dict[str, Any], status: int, message: str
) -> None:
    answer = raw.post("/api/create", json={"modelspec": RECIPE | change, "files": files, "stream": False})
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]
    assert str(ROOT) not in answer.text
    streamed = create(raw, modelspec=RECIPE | change, files=files)
    assert "error" in streamed[-1]


def test_a_recipe_reads_nothing_of_the_repository_around_the_home(raw: httpx.Client, served: ServeProcess) -> None:
    around = served.home.root.parent
    (around / ".git").mkdir()
    (around / "secret.txt").write_text("a secret")
    up = "../../../../secret.txt"
    recipe = RECIPE | {"name": "nosy", "base": {"from": "hello"}, "tests": []}
    for change in ({"system_prompt": {"file": up}}, {"prompt_template": {"file": up}}, {"base": {"path": "../../.."}}):
        answer = raw.post("/api/create", json={"modelspec": recipe | change, "stream": False})
        assert answer.status_code == 400, answer.text
        assert "a secret" not in answer.text
    (around / ".git").rmdir()


def test_every_mistake_of_a_recipe_is_told(raw: httpx.Client, files: dict[str, str]) -> None:
    answer = raw.post("/api/create", json={"modelspec": RECIPE | {"nmae": "x", "colour": 7}, "files": files})
    told = json.loads(answer.text.splitlines()[-1])
    assert told["code"] == "spec-unknown-key"
    assert ["nmae" in line or "colour" in line for line in told["error"].splitlines()] == [True, True]


def test_files_never_write_into_the_store(raw: httpx.Client, served: ServeProcess, files: dict[str, str]) -> None:
    one, other = post_blob(raw, b"one"), post_blob(raw, b"other")
    names = {"x": one, "./x": other, "ModelSpec.yaml": one, "x/y": other}
    for some in (dict(list(names.items())[:3]), names):
        answer = raw.post("/api/create", json={"modelspec": RECIPE, "files": files | some, "stream": False})
        assert answer.status_code == (400 if "x/y" in some else 200), answer.text
    long = {"n" * 300: one}
    assert raw.post("/api/create", json={"modelspec": RECIPE, "files": long, "stream": False}).status_code == 400
    for digest, content in ((one, b"one"), (other, b"other")):
        assert served.store.read(Digest.parse(digest)) == content


def test_an_adapter_of_peft_is_merged(
    raw: httpx.Client, served: ServeProcess, files: dict[str, str], tmp_path: Path
) -> None:
    adapter = Adapter({"model.layers.0.self_attn.q_proj": 4}).write(tmp_path / "adapter", load(MODEL))
    merged = merge_and_unload(MODEL, adapter, tmp_path / "merged")
    sent = {path.name: post_blob(raw, path.read_bytes()) for path in adapter.iterdir()}
    weights = {"model.safetensors": post_blob(raw, (merged / "model.safetensors").read_bytes())}
    as_ollama_sends_it = {name.replace("adapter_model", "model"): blob for name, blob in sent.items()}
    told = create(raw, model="adapted", files=flat(files), adapters=as_ollama_sends_it)
    assert told[-1] == {"status": "success"}
    assert create(raw, model="merged", files=flat(files) | weights)[-1] == {"status": "success"}

    def shards(name: str) -> list[Digest]:
        artifact = Artifact.open(served.store, Digest.parse(f"sha256:{names(raw)[name]}"))
        return [file.blob.digest for file in artifact.files if file.path.endswith(".safetensors")]

    assert shards("adapted:latest") == shards("merged:latest") != shards("hello:latest")
    told = create(raw, model="twice", **{"from": "hello"}, adapters=sent)
    assert "which the base model holds packed or quantized" in told[-1]["error"]
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"use_dora": True}
    changed = sent | {"adapter_config.json": post_blob(raw, json.dumps(config).encode())}
    assert "DoRA" in create(raw, model="dora", files=flat(files), adapters=changed)[-1]["error"]


def test_the_requests_that_ollama_create_makes_for_a_gguf_file(
    raw: httpx.Client, served: ServeProcess, tmp_path: Path
) -> None:
    """As its version 0.32.15 sent them for `FROM ./tiny.gguf` and the directives that are seen below."""
    content = tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    headers = {
        "User-Agent": "ollama/0.0.0 (amd64 linux) Go/go1.26.8",
        "Transfer-Encoding": "chunked",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
    }
    chunks = (content[begin : begin + 32768] for begin in range(0, len(content), 32768))
    assert raw.post(f"/api/blobs/{digest}", content=chunks, headers=headers).status_code == 201
    body = (
        '{"model":"tiny","files":{"tiny.gguf":"%s"},"license":["apache-2.0"],"system":"You are brief.",'
        '"parameters":{"num_predict":8,"stop":["\\u003c/s\\u003e"]},"name":""}'
    )
    del headers["Transfer-Encoding"]
    asked = headers | {"Accept": "application/x-ndjson"}
    answer = raw.post("/api/create", content=(body % digest).encode(), headers=asked)
    assert json.loads(answer.text.splitlines()[-1]) == {"status": "success"}, answer.text
    shown = raw.post("/api/show", json={"model": "tiny"}).json()
    assert shown["system"] == "You are brief."
    assert "num_predict" in shown["parameters"]
    assert raw.post("/api/generate", json={"model": "tiny", "prompt": "ab", "stream": False}).json()["done"]


def test_gguf_files_that_are_no_model_are_refused(raw: httpx.Client, tmp_path: Path) -> None:
    def told(**fields: Any) -> str:
        answer = raw.post("/api/create", json={"model": "refused", "stream": False, **fields})
        assert answer.status_code in (400, 501), answer.text
        return str(answer.json()["error"])

    lora = post_blob(raw, tiny_gguf(tmp_path / "lora.gguf", general__type="adapter").read_bytes())
    model = post_blob(raw, tiny_gguf(tmp_path / "tiny.gguf").read_bytes())
    assert "adapter" in told(files={"lora.gguf": lora})
    assert "adapters in GGUF format cannot be merged" in told(files={"tiny.gguf": model}, adapters={"lora.gguf": lora})
    assert "there are 2 GGUF files" in told(files={"a.gguf": model, "b.gguf": model})
    assert "no language model" in told(files={"mmproj-f16.gguf": model})


def test_a_gate_that_fails_moves_no_name(raw: httpx.Client, files: dict[str, str]) -> None:
    gate = {"complete": {"prompt": "What is a lock?", "expect": {"contains": "no such words"}}}
    answer = raw.post(
        "/api/create",
        json={"modelspec": RECIPE | {"name": "failing", "tests": [gate]}, "files": files, "stream": False},
    )
    assert answer.status_code == 400, answer.text
    assert "failing:latest" not in names(raw)


def test_what_cannot_be_carried_is_told(raw: httpx.Client) -> None:
    told = create(raw, model="warned", **{"from": "hello"}, parameters={"mirostat": 1}, renderer="qwen3-coder")
    statuses = [each["status"] for each in told]
    assert any("mirostat is left out" in status for status in statuses)
    assert any("renderer is left out" in status for status in statuses)
    assert statuses[-1] == "success"


def test_a_client_that_leaves_ends_the_build(
    raw: httpx.Client, served: ServeProcess, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def is_building(child: psutil.Process) -> bool:
        try:
            return child.status() != psutil.STATUS_ZOMBIE and "create" in child.cmdline()
        except psutil.Error:  # it ended between two questions
            return False

    def building() -> bool:
        return any(map(is_building, psutil.Process(served.process.pid).children()))

    axes = {"quantization": ["int4", "mxfp4", "nvfp4", "mxfp8", "int8"], "dtype": ["float32", "float16", "bfloat16"]}
    recipe = RECIPE | {"name": "abandoned", "variants": axes}
    with httpx.Client(base_url=served.url) as client:
        with client.stream("POST", "/api/create", json={"modelspec": recipe, "files": files}) as answer:
            next(answer.iter_lines())
            soon(building)
    soon(lambda: not building())
    soon(lambda: not list((served.home.cache / "work").glob("create-*")))
    assert "abandoned:latest" not in names(raw)


def test_what_a_model_cannot_do_is_refused(raw: httpx.Client, files: dict[str, str]) -> None:
    text = (MODEL / "tokenizer.json").read_text().replace("<think>", "<note>").replace("</think>", "</note>")
    plain = files | {"model/tokenizer.json": post_blob(raw, text.encode())}
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    create(raw, model="plain", files=flat(plain), template=template)
    assert raw.post("/api/show", json={"model": "plain"}).json()["capabilities"] == ["completion"]

    def told(path: str, **fields: Any) -> tuple[int, str | None]:
        answer = raw.post(path, json={"model": "plain", "stream": False, "options": {"num_predict": 2}, **fields})
        return answer.status_code, answer.json().get("error")

    for path, question in (("/api/chat", {"messages": [QUESTION]}), ("/api/generate", {"prompt": "What"})):
        for think in (True, "high"):
            assert told(path, **question, think=think) == (400, '"plain" does not support thinking')
        assert told(path, **question, think=False) == told(path, **question) == (200, None)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    refused = (400, "plain:latest does not support tools")
    assert told("/api/chat", messages=[QUESTION], tools=[tool]) == refused
    with_tools = {"model": "plain", "messages": [QUESTION], "tools": [tool]}
    assert "leave `tools` out" in raw.post("/api/chat", json=with_tools).json()["hint"]
    assert "leave `tools` out" in raw.post("/v1/chat/completions", json=with_tools).json()["error"]["message"]
    assert create(raw, model="go", **{"from": "hello"}, template="{{ .Prompt }}")[-1]["error"].startswith(
        "template error: "
    )


def test_a_model_with_tokens_for_it_fills_gaps(raw: httpx.Client, served: ServeProcess, files: dict[str, str]) -> None:
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
    vocabulary, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    last = sorted(vocabulary, key=vocabulary.__getitem__)[-3:]
    for token, name in zip(last, ("prefix", "suffix", "middle"), strict=True):
        added.append({**added[0], "id": vocabulary.pop(token), "content": f"<|fim_{name}|>"})
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-3]
    changed = {"tokenizer.json": post_blob(raw, json.dumps(tokenizer).encode())}
    create(raw, model="gaps", files=flat(files) | changed)
    listed = {model["name"]: model["capabilities"] for model in raw.get("/api/tags").json()["models"]}
    assert "insert" in listed["gaps:latest"]
    assert "insert" not in listed["hello:latest"]
    assert "insert" in raw.post("/api/show", json={"model": "gaps"}).json()["capabilities"]
    with ollama.Client(served.url) as client:
        told = client.generate("gaps", "A lock", suffix=" by its digest.", options={"num_predict": 3})
    assert told.eval_count
    assert told.eval_count <= 3
    asked = {"model": "gaps", "prompt": "A lock", "suffix": " x", "_debug_render_only": True}
    prompt = raw.post("/api/generate", json=asked).json()["_debug_info"]["rendered_template"]
    assert prompt == "<|fim_prefix|>A lock<|fim_suffix|> x<|fim_middle|>"


def test_the_trust_policy_decides_over_what_is_loaded(raw: httpx.Client, served: ServeProcess) -> None:
    raw.post("/api/copy", json={"source": "hello", "destination": "guarded"})
    policy = served.home.root / "policy.yaml"
    environment = os.environ | {"MLXBUILD_HOME": str(served.home.root)}
    subprocess.run([PROGRAM, "keygen", "acme"], env=environment, check=True, capture_output=True)
    policy.write_text(json.dumps([{"pattern": "guarded", "mode": "enforce", "keys": ["keys/acme.pub"]}]))
    try:
        answer = raw.post("/api/chat", json={"model": "guarded", "messages": [QUESTION]})
        assert (answer.status_code, answer.json()["code"]) == (403, "untrusted")
        other = raw.post("/v1/chat/completions", json={"model": "guarded", "messages": [QUESTION]})
        assert other.status_code == 403
        for source, copy in (("guarded", "copy"), ("copy", "copy/of-copy")):
            raw.post("/api/copy", json={"source": source, "destination": copy})
        raw.request("DELETE", "/api/delete", json={"model": "guarded"})
        for name in ("copy", "copy/of-copy", "hello", f"x@{served.store.tags.resolve(Reference.parse('copy'))}"):
            copied = raw.post("/api/chat", json={"model": name, "messages": [QUESTION]})
            assert (copied.status_code, copied.json()["code"]) == (403, "untrusted"), name
            assert "guarded" in copied.json()["error"]
        built = create(raw, model="built", **{"from": "copy"})[-1]
        assert built["code"] == "untrusted"
        assert "built:latest" not in names(raw)
    finally:
        policy.unlink()
    assert raw.post("/api/chat", json={"model": "hello", "messages": [QUESTION]}).status_code == 200
