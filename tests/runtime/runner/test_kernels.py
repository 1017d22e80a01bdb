"""A runner compiles the steps of its model beside its work, once for all that come after it, and answers the same."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.runtime.runner.client import Runner
from tests.processes import children
from tests.runtime.runner.test_runner import said

QUESTION = ChatRequest(({"role": "user", "content": "Tell me a story."},), think=False)
DRAWN = CompletionRequest("A registry", options={"temperature": 0.9, "seed": 7, "max_tokens": 60})


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners of this test have one."""
    monkeypatch.delenv("MLX_DISABLE_COMPILE")


async def compiled(runner: Runner) -> float:
    """Wait until steps are; returns how long that took."""
    began = time.monotonic()
    while not runner.statistics().engine.is_compiled:
        assert time.monotonic() - began < 240, "the steps were never compiled"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def kernels(scratch: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in (scratch / "kernels").rglob("*.so")}


def compilers(process_id: int) -> list[psutil.Process]:
    return children("mlxbuild.runtime.runner.kernels", process_id)


def test_steps_are_compiled_once_and_answer_the_same(
    loop: asyncio.Runner, folder: Path, tmp_path: Path, compiler: None
) -> None:
    async def first() -> tuple[list[str], list[str]]:
        runner = await Runner.start(folder, tmp_path)
        plain = [await said(runner.answer(request)) for request in (QUESTION, DRAWN)]
        await compiled(runner)
        after = [await said(runner.answer(request)) for request in (QUESTION, DRAWN)]
        assert not compilers(runner.process_id)
        psutil.Process(runner.process_id).kill()  # what it has in its own folder is not trusted any more
        await runner.stop()
        return plain, after

    async def second() -> list[str]:
        runner = await Runner.start(folder, tmp_path)
        await compiled(runner)
        answers = [await said(runner.answer(request)) for request in (QUESTION, DRAWN)]
        await runner.stop()
        return answers

    plain, after = loop.run(first())
    assert after == plain
    made = kernels(tmp_path)
    assert len(made) > 5
    assert not list(tmp_path.rglob("aside"))
    assert loop.run(second()) == plain
    assert kernels(tmp_path) == made, "kernels were compiled again"


def test_a_compiler_ends_with_its_runner(loop: asyncio.Runner, folder: Path, tmp_path: Path, compiler: None) -> None:
    async def killed() -> list[psutil.Process]:
        runner = await Runner.start(folder, tmp_path)
        while not (begun := compilers(runner.process_id)):
            await asyncio.sleep(0.01)
        psutil.Process(runner.process_id).kill()
        await runner.stop()
        return begun

    begun = loop.run(killed())
    _, alive = psutil.wait_procs(begun, timeout=20)
    assert not alive
