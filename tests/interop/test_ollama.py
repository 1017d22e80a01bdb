"""The `ollama` command itself, unmodified, against `mlxbuild serve`."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.interop.conftest import EXAMPLE, Example
from tests.mlxbuild.serving.conftest import ServeProcess, serving
from tests.mlxbuild.test_embedding_models import write_source
from tests.real_tools import find
from tests.registries import docker_registry
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf
from tests.toolchain.weights.peft_adapters import Adapter, load

QUESTION = "What is a lock?"
ANSWER = "pins every source by its digest"
_ESCAPES = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]")

Ollama = Callable[..., str]


@pytest.fixture(scope="module")
def server(hello: Example) -> Iterator[ServeProcess]:
    """A server over the example."""
    with serving(hello.mlxbuild.home) as server:
        yield server


@pytest.fixture
def ollama(server: ServeProcess, tmp_path: Path) -> Ollama:
    """Runs the command to its end; what it showed, without what it draws with. With `refused`, it has to fail."""

    def run(*words: str, refused: bool = False) -> str:
        done = subprocess.run(
            [find("ollama"), *words],
            cwd=tmp_path,
            env=os.environ | {"OLLAMA_HOST": server.url, "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        told = _ESCAPES.sub("", done.stdout)
        assert (done.returncode != 0) == refused, f"ollama {' '.join(words)}:\n{told}"
        return told

    return run


def test_list_and_show(ollama: Ollama, hello: Example) -> None:
    listed = {line.split()[0]: line.split()[1] for line in ollama("list").splitlines()[1:]}
    assert listed["hello:int4"] == hello.digests["int4"].partition(":")[2][:12]
    shown = ollama("show", "hello")
    for words in ("qwen3", "completion", "tools", "thinking", "2048"):
        assert words in shown
    assert re.search(r"num_predict +200", ollama("show", "hello", "--parameters"))
    assert "<|im_start|>" in ollama("show", "hello", "--template")


def test_run(ollama: Ollama) -> None:
    told = ollama("run", "hello", QUESTION)
    assert "Thinking..." in told
    assert ANSWER in told
    told = ollama("run", "hello", "--think=false", "--verbose", QUESTION)
    assert "Thinking..." not in told
    assert re.search(r"eval rate: +[\d.]+ tokens/s", told)
    assert "not found" in ollama("show", "nobody", refused=True)


def document(told: str) -> Any:
    """JSON that the command showed, with a spinner before it or without."""
    return json.loads(told[min(place for each in "{[" if (place := told.find(each)) >= 0) :])


def test_structured_output(ollama: Ollama) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["city", "count"],
        "additionalProperties": False,
    }
    for form, expected in ((json.dumps(schema), schema), ("json", {"type": "object"})):
        told = ollama("run", "hello", "--think=false", "--format", form, "Tell me of Rome.")
        jsonschema.validate(document(told), expected)


def test_ps_and_stop(ollama: Ollama) -> None:
    ollama("run", "hello:int8", "--keepalive", "1h", QUESTION)
    (line,) = [line for line in ollama("ps").splitlines() if line.startswith("hello:int8")]
    assert " 2048 " in line
    assert "from now" in line
    ollama("stop", "hello:int8")
    assert "hello:int8" not in ollama("ps")
    assert "couldn't find model" in ollama("stop", "nobody", refused=True)


def test_cp_and_rm(ollama: Ollama) -> None:
    assert "copied 'hello' to 'hello:second'" in ollama("cp", "hello", "hello:second")
    assert "deleted 'hello:second'" in ollama("rm", "hello:second")
    assert "model 'hello:second' not found" in ollama("rm", "hello:second", refused=True)


def test_create_from_a_model(ollama: Ollama, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM hello\nSYSTEM Be brief.\nPARAMETER num_predict 7\n")
    assert "success" in ollama("create", "brief")
    assert re.search(r"num_predict +7", ollama("show", "brief", "--parameters"))
    assert "Be brief." in ollama("show", "brief", "--system")


def test_create_from_a_folder(ollama: Ollama, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "model", tmp_path / "model")
    (tmp_path / "Modelfile").write_text("FROM ./model\n")
    assert "success" in ollama("create", "uploaded")
    assert ANSWER in ollama("run", "uploaded", "--think=false", QUESTION)


def test_create_from_a_gguf_file(ollama: Ollama, tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    tiny_gguf(tmp_path / "lora.gguf", general__type="adapter")
    (tmp_path / "Modelfile").write_text("FROM ./tiny.gguf\nPARAMETER num_predict 3\n")
    assert "success" in ollama("create", "tiny")
    assert "128" in ollama("show", "tiny")
    ollama("run", "tiny", "ab")
    (tmp_path / "Modelfile").write_text("FROM ./tiny.gguf\nADAPTER ./lora.gguf\n")
    assert "adapters in GGUF format cannot be merged" in ollama("create", "adapted", refused=True)
    (tmp_path / "Modelfile").write_text("FROM ./lora.gguf\n")
    assert "the file holds an adapter (LoRA), not a model" in ollama("create", "adapted", refused=True)


def test_create_from_an_adapter(ollama: Ollama, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "model", tmp_path / "model")
    adapter = Adapter({"model.layers.0.self_attn.q_proj": 4}).write(tmp_path / "adapter", load(EXAMPLE / "model"))
    (adapter / "adapter_model.safetensors").rename(adapter / "model.safetensors")  # what the command looks for
    (tmp_path / "Modelfile").write_text("FROM ./model\nADAPTER ./adapter\n")
    assert "success" in ollama("create", "adapted")
    assert ollama("run", "adapted", "--think=false", QUESTION)


def test_a_model_that_embeds(ollama: Ollama, tmp_path: Path) -> None:
    source = write_source(tmp_path, "bert")
    (tmp_path / "Modelfile").write_text(f"FROM {source}\n")
    assert "success" in ollama("create", "embedder")
    assert "embedding" in ollama("show", "embedder")
    vector = document(ollama("run", "embedder", "t5 t6"))
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-4)
    assert len(vector) == 16
    assert len(document(ollama("run", "embedder", "--dimensions", "4", "t5 t6"))) == 4


def test_push_and_pull(ollama: Ollama, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/acme/hello:int4-1.0"
        ollama("cp", "hello", name)
        assert "success" in ollama("push", "--insecure", name)
        ollama("rm", name)
        assert "success" in ollama("pull", "--insecure", name)
        assert ANSWER in ollama("run", name, "--think=false", QUESTION)
        assert ollama("pull", "--insecure", f"{registry.host}/acme/nothing:1", refused=True)
        ollama("rm", name)
