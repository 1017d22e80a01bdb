"""Frameworks and programs of others, unmodified: each gets an answer, a form, a tool turn and a stream in each way.

`make clients` runs these: installing all of them takes minutes and gigabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients import cargo, node, python
from tests.mlxbuild.serving.conftest import ServeProcess

pytestmark = pytest.mark.timeout(3600)  # the first run installs the packages

HERE = Path(__file__).parent
LOCK = "A lock is a file beside the spec that pins every source by its digest."
WAYS = {
    "async_openai": ["chat"],
    "haystack": ["chat", "responses", "ollama"],
    "langchain_js": ["chat", "responses", "ollama"],
    "llama_index": ["chat", "ollama"],
    "open_webui": ["chat", "ollama"],
    "pydantic_ai": ["chat", "responses", "ollama"],
    "smolagents": ["chat"],
}
"""Each client's ways to ask: OpenAI's chat completions and responses, and what it has for Ollama."""
TELLING_CALLS_AS_TEXT = {"smolagents"}
"""Those that tell the model of its calls in words of their own, which the example's model has not learned."""


def told(client: str, url: str) -> Any:
    """What a client told, run by what its language is."""
    folder = HERE / client
    if (folder / "package.json").exists():
        return node.run(folder / "turns.js", url)
    if (folder / "Cargo.toml").exists():
        return cargo.run(folder, url)
    environment = {"HAYSTACK_TELEMETRY_ENABLED": "false"}
    return python.run(folder / "turns.py", url, environment=environment)


@pytest.mark.parametrize("client", WAYS)
def test_client(served: ServeProcess, client: str) -> None:
    got = told(client, served.url)
    assert list(got) == WAYS[client]
    for way in got.values():
        assert way["answer"] == "".join(way["pieces"]) == LOCK
        assert len([piece for piece in way["pieces"] if piece]) > 5
        assert way["form"]["city"] in {"Oslo", "Rome"}
        assert isinstance(way["form"]["capital"], bool)
        assert way["cities"] == ["Rome"]
        assert way["said"] if client in TELLING_CALLS_AS_TEXT else way["said"].endswith("sunny in Rome.")


def test_every_client_is_tested() -> None:
    assert {folder.name for folder in HERE.iterdir() if folder.is_dir() and folder.name != "__pycache__"} == set(WAYS)
