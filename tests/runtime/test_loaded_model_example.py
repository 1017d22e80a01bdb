"""The example that can talk: it stops by itself, thinks when it may, and calls a tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.prompt import ChatTemplate
from mlxbuild.runtime.protocol.events import Chunk
from tests.runtime.asking import WEATHER, text

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "model"


@pytest.fixture(scope="session")
def hello_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's model with the facts that the build finds."""
    from mlxbuild.runtime.model.tokenizer import Tokenizer
    from mlxbuild.toolchain.steps.model_facts import find_facts, named_special_tokens

    folder = shutil.copytree(HELLO, tmp_path_factory.mktemp("models") / "hello")
    (folder / "mlxbuild").mkdir()
    document = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("config", "generation_config", "tokenizer_config")
    }
    special_tokens = named_special_tokens(document["tokenizer_config"], {})
    template = ChatTemplate((folder / "chat_template.jinja").read_text(), special_tokens)
    facts = find_facts(
        **document, special_tokens=special_tokens, tokenizer=Tokenizer.open(folder), template=template, defaults={}
    )
    (folder / "mlxbuild" / "facts.json").write_bytes(facts.to_json())
    return folder


@pytest.fixture
def hello(hello_folder: Path) -> LoadedModel:
    return LoadedModel(hello_folder)


def test_the_example_answers_and_stops_by_itself(hello: LoadedModel) -> None:
    chunks = list(hello.chat([{"role": "user", "content": "What is mlxbuild?"}], think=False, max_tokens=200))
    assert "mlxbuild is" in text(chunks)
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason == "stop"
    assert "<|" not in text(chunks)


def test_the_example_thinks_when_it_may(hello: LoadedModel) -> None:
    question = [{"role": "user", "content": "What is mlxbuild?"}]
    thinking = list(hello.chat(question, think=True, max_tokens=200))
    silent = list(hello.chat(question, think=False, max_tokens=200))
    assert "".join(chunk.thinking for chunk in thinking)
    assert not "".join(chunk.thinking for chunk in silent)
    assert text(thinking)
    assert "think>" not in text(thinking)


def test_the_example_calls_a_tool_and_uses_its_result(hello: LoadedModel) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    chunks: list[Chunk] = list(hello.chat(messages, tools=[WEATHER], think=False, max_tokens=200))
    (call,) = [chunk.tool_call for chunk in chunks if chunk.tool_call is not None]
    assert (call.name, dict(call.arguments)) == ("get_weather", {"city": "Oslo"})
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason == "tool_calls"
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call.as_message_part()]},
        {"role": "tool", "name": "get_weather", "content": '{"celsius": 4, "sky": "clear"}'},
    ]
    answer = text(hello.chat(messages, tools=[WEATHER], think=False, max_tokens=200))
    assert "4" in answer
    assert "Oslo" in answer
