"""The names in the store, blobs, and what `create`, `pull` and `push` refuse, against the contract."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from mlxbuild.registry.artifact.media_types import FILE_PATH
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.residency.memory_need import PROCESS_BYTES
from mlxbuild.runtime.server.application import Application
from tests.loopback_server import LoopbackServer
from tests.runtime.server.ollama.asking import error


def names(client: httpx.Client) -> list[str]:
    return [model["name"] for model in client.get("/api/tags").json()["models"]]


def test_tags(hello: httpx.Client, hello_application: Application) -> None:
    answer = hello.get("/api/tags")
    models = answer.json()["models"]
    examples = [model["digest"] for model in models if model["name"].startswith("hello:")]
    assert len(set(examples)) == len(examples) == 3, "each artifact is one row"
    (latest,) = [model for model in models if "hello:latest" in model["details"]["aliases"]]
    digest = hello_application.store.tags.items()[0][1].digest
    assert latest["name"] == latest["model"] == "hello:int4"
    assert latest["digest"] in {entry.digest.hex for _, entry in hello_application.store.tags.items()}
    assert len(latest["digest"]) == len(digest.hex) == 64
    assert latest["size"] > 500_000
    assert datetime.fromisoformat(latest["modified_at"]).tzinfo is not None
    assert latest["details"] == {
        "parent_model": "",
        "format": "safetensors",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "1.0M",
        "quantization_level": "mlx-affine-4bit-g64",
        "context_length": 2048,
        "embedding_length": 128,
        "aliases": ["hello:int4-1.0", "hello:latest"],
    }
    times = [datetime.fromisoformat(model["modified_at"]) for model in models]
    assert times == sorted(times, reverse=True)
    assert hello.head("/api/tags").status_code == 200


@pytest.mark.parametrize(("gone", "where"), [("store", "store"), ("store/blobs", "store/blobs/sha256")])
def test_a_store_that_is_gone_is_not_an_empty_one(
    hello: httpx.Client, hello_application: Application, gone: str, where: str
) -> None:
    home = hello_application.home.root
    (home / gone).rename(home / "away")
    try:
        answers = [hello.get(path) for path in ("/api/tags", "/v1/models")]
        ready = hello.get("/api/health?ready")
    finally:
        (home / "away").rename(home / gone)
    assert [answer.status_code for answer in answers] == [500, 500]
    assert answers[0].json()["error"] == "the store was moved or deleted"
    assert answers[0].json()["where"] == str(home / where)
    assert "restore the folder" in answers[1].json()["error"]["message"]
    assert ready.status_code == 503
    assert "hello:int4" in names(hello)


def test_a_model_with_a_damaged_document_hides_no_other(hello: httpx.Client, hello_application: Application) -> None:
    store = hello_application.store
    manifest = json.loads(store.read(dict(store.tags.items())["hello:latest"].digest))
    (layer,) = [it for it in manifest["layers"] if it["annotations"][FILE_PATH] == "config.json"]
    broken = store.put(b"{")
    layer |= {"digest": str(broken.digest), "size": broken.size_bytes}
    store.tags.set({"broken:latest": tag_descriptor(store.put(json.dumps(manifest).encode()))})
    try:
        assert "hello:int4" in names(hello)
        assert "broken:latest" not in names(hello)
        answer = hello.post("/api/show", json={"model": "broken"})
        assert "not valid JSON" in answer.json()["error"]
    finally:
        store.tags.remove("broken:latest")


def test_show(hello: httpx.Client) -> None:
    shown = hello.post("/api/show", json={"name": "hello"}).json()
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    assert "num_predict                    200" in shown["parameters"].splitlines()
    assert "<|im_start|>" in shown["template"]
    assert shown["modelfile"].splitlines()[1] == "FROM hello:latest"
    assert shown["model_info"]["general.architecture"] == "qwen3"
    assert "tensors" not in shown
    tensors = hello.post("/api/show", json={"model": "hello", "verbose": True}).json()["tensors"]
    assert {"name", "type", "shape"} == set(tensors[0])
    assert any(each["name"] == "model.embed_tokens.weight" for each in tensors)
    assert error(hello.post("/api/show", json={})) == (400, "model is required")
    assert error(hello.post("/api/show", json={"model": "nobody"})) == (404, "model 'nobody:latest' not found")
    assert error(hello.post("/api/show", json={"model": "a b"})) == (400, "invalid model name")


def test_copy_and_delete(hello: httpx.Client) -> None:
    copied = hello.post("/api/copy", json={"source": "Hello", "destination": "other/Name:v1"})
    assert (copied.status_code, copied.content) == (200, b"")
    assert "other/name:v1" in names(hello)
    gone = hello.request("DELETE", "/api/delete", json={"name": "other/name:v1"})
    assert (gone.status_code, gone.content) == (200, b"")
    assert "other/name:v1" not in names(hello)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, 'source "" is invalid'),
        ({"source": "hello"}, 400, 'destination "" is invalid'),
        ({"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
        ({"source": "hello", "destination": "a b"}, 400, 'destination "a b" is invalid'),
        ({"source": "nobody", "destination": "x"}, 404, 'model "nobody" not found'),
    ],
)
def test_copies_that_are_refused(hello: httpx.Client, fields: dict[str, str], status: int, message: str) -> None:
    assert error(hello.post("/api/copy", json=fields)) == (status, message)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "model is required"),
        ({"model": "a b"}, 400, 'name "a b" is invalid'),
        ({"model": "nobody"}, 404, "model 'nobody' not found"),
    ],
)
def test_deletions_that_are_refused(hello: httpx.Client, fields: dict[str, str], status: int, message: str) -> None:
    assert error(hello.request("DELETE", "/api/delete", json=fields)) == (status, message)


def test_blobs(hello: httpx.Client, hello_application: Application) -> None:
    content = b"some bytes" * 1000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert hello.head(f"/api/blobs/{digest}").status_code == 404
    other = hello.post(f"/api/blobs/{digest}", content=content + b"x")
    assert error(other)[0] == 400
    assert f"digest mismatch, expected {digest}, got sha256:" in error(other)[1]
    assert hello.post(f"/api/blobs/{digest}", content=content).status_code == 201
    assert hello.post(f"/api/blobs/{digest}", content=content).status_code == 200
    assert hello.head(f"/api/blobs/{digest.replace(':', '-')}").status_code == 200
    assert hello_application.store.read(Digest.parse(digest)) == content
    assert error(hello.post("/api/blobs/sha256:123", content=b"")) == (400, "invalid digest format")
    assert hello.head("/api/blobs/md5:123").status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "invalid model name"),
        ({"model": "a b", "from": "hello"}, 400, "invalid model name"),
        ({"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "x", "files": {"../x": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "x", "files": {"/x": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "x", "files": {".": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "x", "files": {"a//b": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "x", "files": {"a/./b": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "x", "files": {"x": ""}}, 400, "invalid digest format"),
        ({"model": "x", "files": {"x": "sha256:" + "0" * 64}}, 400, f'blob "sha256:{"0" * 64}" not found'),
        ({"model": "x", "files": {"x.bin": "sha256:" + "0" * 64}}, 400, "`x.bin` cannot be built from"),
        ({"model": "x", "from": "y", "remote_host": "z"}, 400, "models cannot be created from those of other servers"),
    ],
)
def test_creations_that_are_refused(hello: httpx.Client, fields: dict[str, Any], status: int, message: str) -> None:
    assert error(hello.post("/api/create", json=fields)) == (status, message)


@pytest.mark.parametrize(
    ("path", "fields", "status", "message"),
    [
        ("/api/pull", {}, 400, "invalid model name"),
        ("/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("/api/pull", {"model": "127.0.0.1:1/x:1", "stream": False}, 502, ""),
        ("/api/pull", {"model": "no-registry", "stream": False}, 400, "names no registry"),
        ("/api/push", {}, 400, "model is required"),
        ("/api/push", {"model": "nobody"}, 404, "model 'nobody' not found"),
        ("/api/push", {"model": "hello", "stream": False}, 400, "names no registry"),
    ],
)
def test_transfers_that_are_refused(
    hello: httpx.Client, path: str, fields: dict[str, Any], status: int, message: str
) -> None:
    told_status, told = error(hello.post(path, json=fields))
    assert (told_status, message in told) == (status, True), told


class _Registry(BaseHTTPRequestHandler):
    """Has a manifest that is none under each name."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.oci.image.manifest.v1+json")
        self.end_headers()
        self.wfile.write(b'{"schemaVersion": 2}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


def test_what_a_registry_sends_that_is_unsound_is_the_fault_of_its_server(hello: httpx.Client) -> None:
    with LoopbackServer(("127.0.0.1", 0), _Registry) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        body = {"model": f"127.0.0.1:{registry.server_port}/acme/x:1", "stream": False}
        told = hello.post("/api/pull", json=body)
        registry.shutdown()
    assert (told.status_code, told.json()["code"], told.json()["kind"]) == (502, "invalid-manifest", "trust")


def test_a_transfer_fails_in_its_stream(hello: httpx.Client) -> None:
    answer = hello.post("/api/pull", json={"model": "no-registry"})
    assert answer.status_code == 200
    first, last = answer.text.splitlines()
    assert first == '{"status":"pulling manifest"}'
    assert '"error"' in last


def test_stop_and_ps(hello: httpx.Client) -> None:
    hello.post("/api/generate", json={"model": "hello:int8@1.0", "keep_alive": -1})
    (entry,) = [each for each in hello.get("/api/ps").json()["models"] if each["name"] == "hello:int8-1.0"]
    assert entry["forever"] is True
    assert datetime.fromisoformat(entry["expires_at"]).year > 2300
    assert entry["context_length"] == 2048
    assert entry["size"] >= entry["size_vram"]
    assert entry["size"] == sum(entry["memory"].values())
    assert 0 < entry["size_disk"] < entry["memory"]["weights"], "int8 is held as float32 on a CPU"
    assert entry["memory"]["process"] == PROCESS_BYTES
    stop = {"model": "hello:INT8@1.0"}
    assert hello.post("/api/stop", json=stop).json() == {"model": "hello:INT8@1.0", "unloaded": True}
    assert hello.post("/api/stop", json=stop).json()["unloaded"] is False
    assert error(hello.post("/api/stop", json={})) == (400, "model is required")
    assert error(hello.post("/api/stop", json={"model": "nobody"})) == (404, "model 'nobody' not found")
