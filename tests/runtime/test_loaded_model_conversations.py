"""Conversations that go on: by tokens of earlier exchanges, shortened, and from checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.protocol.events import Chunk
from mlxbuild.runtime.protocol.requests import ChatRequest, PromptRequest
from tests.runtime.asking import USER, text
from tests.runtime.engine.random_models import OWN_CONFIG
from tests.runtime.tiny_folders import write_model


def test_an_earlier_exchange_goes_on_by_its_tokens(tiny: LoadedModel) -> None:
    first = ChatRequest((USER,), options={"max_tokens": 8}, wants_tokens=True)
    *_, last = (event for event in tiny.answer(first) if isinstance(event, Chunk))
    assert last.finish is not None
    assert last.finish.tokens is not None
    assert len(last.finish.tokens) == last.finish.prompt_tokens + 8
    second = ChatRequest((USER,), preceding_tokens=last.finish.tokens, options={"max_tokens": 2})
    *_, last_of_second = (event for event in tiny.answer(second) if isinstance(event, Chunk))
    assert last_of_second.finish is not None
    assert last_of_second.finish.prompt_tokens == len(last.finish.tokens) + last.finish.prompt_tokens
    assert last_of_second.finish.reused_tokens >= len(last.finish.tokens) - 1
    prompt = tiny.prompt_of(PromptRequest(second))
    assert prompt.tokens == last_of_second.finish.prompt_tokens
    assert prompt.text.endswith(tiny.prompt([USER]))


def test_a_prompt_ends_as_it_is_asked_to(tiny: LoadedModel) -> None:
    def finish(*messages: Any, **more: Any) -> str:
        return tiny.prompt_of(PromptRequest(ChatRequest(messages, **more))).text

    begun = {"role": "assistant", "content": "It was"}
    opened, closed = finish(USER), finish(USER, prompt_ending="closed")
    assert opened.startswith(closed)
    assert len(opened) > len(closed)
    assert finish(USER, prompt_ending="opened") == opened
    continued = finish(USER, begun)
    assert continued.endswith("It was")
    assert finish(USER, begun, prompt_ending="continued") == continued
    assert finish(USER, begun, prompt_ending="closed").startswith(continued)
    anew = finish(USER, begun, prompt_ending="opened")
    assert anew.startswith(continued)
    assert anew.endswith(opened.removeprefix(closed))


def test_the_oldest_messages_make_room_and_system_and_last_stay(tiny: LoadedModel) -> None:
    system = {"role": "system", "content": "Be kind."}
    turns = [
        {"role": role, "content": f"{role} {number} " + "x" * 20}
        for number in range(40)
        for role in ("user", "assistant")
    ]
    last = {"role": "user", "content": "and now?"}
    request = ChatRequest((system, *turns, last), options={"max_tokens": 4})
    prompt = tiny.prompt_of(PromptRequest(request))
    assert 350 < prompt.tokens < 512
    assert "Be kind." in prompt.text
    assert "and now?" in prompt.text
    assert "assistant 39" in prompt.text
    assert "user 0 " not in prompt.text
    *_, end = tiny.answer(request)
    assert isinstance(end, Chunk)
    assert end.finish is not None
    assert end.finish.prompt_tokens == prompt.tokens
    with pytest.raises(PromptUnusable, match="input length"):
        tiny.prepare(ChatRequest((system, *turns, last), truncates=False))
    with pytest.raises(PromptUnusable, match="input length"):
        tiny.prepare(ChatRequest((system, {"role": "user", "content": "é" * 500})))
    smaller = tiny.prompt_of(PromptRequest(ChatRequest((system, *turns, last), context_tokens=200)))
    assert 100 < smaller.tokens < 200


def test_a_model_that_cannot_be_rewound_keeps_checkpoints_of_conversations(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "lfm2", more={**OWN_CONFIG["lfm2"], "block_dim": 64})
    model = LoadedModel(folder)
    system = {"role": "system", "content": "Be kind, and say where the nearest library is. " * 3}

    def ask(*messages: Any) -> tuple[str, int]:
        *chunks, last = model.chat([system, *messages], max_tokens=8)
        assert last.finish is not None
        return text(chunks), last.finish.reused_tokens

    def length(*messages: Any) -> int:
        return len(model.tokenize(model.prompt([system, *messages]), raw=False))

    first, second = {"role": "user", "content": "hello"}, {"role": "user", "content": "are you there?"}
    answer, reused = ask(first)
    assert reused == 0
    assert ask(second)[1] >= length({"role": "user", "content": ""}) - 16, "the system prompt was read once"
    follow_up = [first, {"role": "assistant", "content": answer}, second]
    told, reused = ask(*follow_up)
    assert reused >= length(first) - 16, "the first exchange was read once"
    cold = LoadedModel(folder, limits=Limits(prefix_bytes=0))
    assert told == text(cold.chat([system, *follow_up], max_tokens=8))
