"""A runner as the front sees it: a real process that holds the example, its answers, its errors, and its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.engine.core.options import InvalidOption
from mlxbuild.runtime.model.prompt import TemplateTooCostly
from mlxbuild.runtime.protocol.events import Chunk, Event
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, PromptRequest
from mlxbuild.runtime.runner.client import Runner
from tests.runtime.model.test_architecture import fresh_python

QUESTION = ChatRequest(({"role": "user", "content": "What is mlxbuild?"},), think=False)
LONG = CompletionRequest("mlxbuild is", options={"stops": ["never to be seen"], "max_tokens": 400})


async def said(events: AsyncIterator[Event]) -> str:
    return "".join([event.text async for event in events if isinstance(event, Chunk)])


def test_it_answers_and_ends(loop: asyncio.Runner, runner: Runner) -> None:
    async def answered() -> list[Event]:
        return [event async for event in runner.answer(QUESTION)]

    *_, last = events = loop.run(answered())
    assert "mlxbuild is" in "".join(event.text for event in events if isinstance(event, Chunk))
    assert isinstance(last, Chunk)
    assert last.finish is not None
    assert last.finish.reason == "stop"
    assert sum(event.token is not None for event in events if isinstance(event, Chunk)) >= last.finish.answer_tokens - 1


def test_it_tells_what_it_holds(runner: Runner) -> None:
    assert runner.facts.model_type == "qwen3"
    assert runner.loaded.context_length == runner.facts.context_length
    assert runner.loaded.holding.size_bytes > 1_000_000
    assert "completion" in runner.loaded.capabilities


def test_a_prompt_is_told_without_an_answer(loop: asyncio.Runner, runner: Runner) -> None:
    prompt = loop.run(runner.prompt(PromptRequest(QUESTION)))
    assert "What is mlxbuild?" in prompt.text
    assert prompt.tokens > 5


def test_an_error_of_the_model_comes_back_as_the_error_it_was(loop: asyncio.Runner, runner: Runner) -> None:
    with pytest.raises(InvalidOption, match="no option `temprature`") as raised:
        loop.run(said(runner.answer(CompletionRequest("x", options={"temprature": 1}))))
    assert raised.value.hint == "did you mean `temperature`?"


def test_it_knows_no_secret_of_the_environment(runner: Runner) -> None:
    environment = psutil.Process(runner.process_id).environ()
    assert "PLANTED_TOKEN" not in environment
    assert environment["PATH"] == os.environ["PATH"]
    assert Path(environment["TMPDIR"]).stat().st_mode & 0o077 == 0


def test_closing_an_answer_ends_the_work(loop: asyncio.Runner, runner: Runner) -> None:
    async def left() -> int:
        before = runner.statistics().engine.answer_tokens
        for _ in range(20):
            answer = runner.answer(LONG)
            await anext(answer)
            await answer.aclose()
        await said(runner.answer(QUESTION))
        while (now := runner.statistics()).engine.answer_tokens == before or now.engine.running:
            await asyncio.sleep(0.05)
        return now.engine.answer_tokens - before

    assert loop.run(left()) < 20 * 400


def test_the_front_loads_nothing_that_computes() -> None:
    script = """
import sys
import mlxbuild.runtime.runner.client, mlxbuild.runtime.residency.residency
print([name for name in ("mlx", "mlx.core", "mlx_lm", "transformers", "tokenizers", "numpy") if name in sys.modules])
"""
    assert fresh_python(script).strip() == "[]"


def test_a_template_without_end_is_refused_and_others_are_answered_meanwhile(
    loop: asyncio.Runner, runner: Runner
) -> None:
    bomb = "{% set x = 'a' * 4000000 %}{% for a in range(99999) %}{{ '' if 'ab' in x }}{% endfor %}"
    endless = ChatRequest(({"role": "user", "content": "Hi"},), template=bomb)

    async def both() -> tuple[MlxbuildError, bool]:
        refused = asyncio.create_task(runner.prompt(PromptRequest(endless)))
        await runner.prompt(PromptRequest(QUESTION))
        was_first = not refused.done()
        with pytest.raises(TemplateTooCostly, match="processor time") as raised:
            await refused
        return raised.value, was_first

    error, was_first = loop.run(both())
    assert (error.where or "").partition(":")[0] == "template"
    assert was_first
