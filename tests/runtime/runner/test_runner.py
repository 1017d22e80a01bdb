"""A runner as the front sees it: a real process that holds the example, its answers, its errors, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from registry.artifact.folder import model_folder
from registry.errors import MlxbuildError
from registry.reference import Reference
from registry.store.layout import Store
from runtime.engine.options import InvalidOption
from runtime.protocol.events import Chunk, Event
from runtime.protocol.requests import ChatRequest, CompletionRequest, PromptRequest
from runtime.runner.client import Patience, Runner
from runtime.runner.errors import RunnerDied, RunnerStalled

QUESTION = ChatRequest(({"role": "user", "content": "What is mlxbuild?"},), think=False)
LONG = CompletionRequest("mlxbuild is", options={"stops": ["never to be seen"], "max_tokens": 400})


@pytest.fixture(scope="module")
def folder(hello_store: Store) -> Path:
    return model_folder(hello_store, hello_store.tags.resolve(Reference.parse("hello:int4@1.0")))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def runner(loop: asyncio.Runner, folder: Path, scratch: Path) -> Iterator[Runner]:
    os.environ["PLANTED_TOKEN"] = "secret"
    try:
        runner = loop.run(Runner.start(folder, scratch))
    finally:
        del os.environ["PLANTED_TOKEN"]
    yield runner
    loop.run(runner.stop())


async def said(events: AsyncIterator[Event]) -> str:
    return "".join([event.text async for event in events if isinstance(event, Chunk)])


def test_it_answers_and_ends(loop: asyncio.Runner, runner: Runner) -> None:
    async def answered() -> list[Event]:
        return [event async for event in runner.answer(QUESTION)]

    *_, last = events = loop.run(answered())
    assert "mlxbuild is" in "".join(event.text for event in events if isinstance(event, Chunk))
    assert isinstance(last, Chunk)
    assert last.ending is not None
    assert last.ending.reason == "stop"
    assert sum(event.token is not None for event in events if isinstance(event, Chunk)) >= last.ending.answer_tokens - 1


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
    assert raised.value.hint == "did you mean temperature?"


def test_it_knows_no_secret_of_the_environment(runner: Runner) -> None:
    environment = psutil.Process(runner.process_id).environ()
    assert "PLANTED_TOKEN" not in environment
    assert environment["PATH"] == os.environ["PATH"]
    assert Path(environment["TMPDIR"]).stat().st_mode & 0o077 == 0


def test_closing_an_answer_ends_the_work(loop: asyncio.Runner, runner: Runner) -> None:
    async def left() -> int:
        before = runner.statistics().answer_tokens
        for _ in range(20):
            answer = runner.answer(LONG)
            await anext(answer)
            await answer.aclose()
        await said(runner.answer(QUESTION))
        while (now := runner.statistics()).answer_tokens == before or now.requests_running:
            await asyncio.sleep(0.05)
        return now.answer_tokens - before

    assert loop.run(left()) < 20 * 400


def test_a_killed_process_fails_its_requests_and_no_others(
    loop: asyncio.Runner, runner: Runner, folder: Path, scratch: Path
) -> None:
    async def killed() -> None:
        other = await Runner.start(folder, scratch)
        answer = other.answer(LONG)
        await anext(answer)
        beside = asyncio.create_task(said(runner.answer(QUESTION)))
        os.kill(other.process_id, signal.SIGKILL)
        with pytest.raises(RunnerDied, match="SIGKILL"):
            await said(answer)
        with pytest.raises(RunnerDied):
            await said(other.answer(QUESTION))
        assert not other.alive
        assert "mlxbuild is" in await beside
        await other.stop()

    loop.run(killed())


def test_a_process_that_hangs_is_ended(loop: asyncio.Runner, folder: Path, scratch: Path) -> None:
    async def hung() -> None:
        other = await Runner.start(folder, scratch, patience=Patience(silent_seconds=2))
        os.kill(other.process_id, signal.SIGSTOP)
        with pytest.raises(RunnerStalled, match="no sign of life"):
            await said(other.answer(QUESTION))
        assert not psutil.pid_exists(other.process_id)

    loop.run(hung())


def test_a_folder_that_is_no_model_is_a_clear_error(loop: asyncio.Runner, tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(MlxbuildError, match=r"facts\.json is missing"):
        loop.run(Runner.start(tmp_path, scratch))
