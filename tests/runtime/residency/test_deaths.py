"""A model whose process ends again and again is refused for a while, with what was said of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.protocol.requests import AnswerFormat, CompletionRequest
from mlxbuild.runtime.residency.crash_history import MOST, REST_SECONDS, CrashHistory
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.errors import ModelKeepsDying
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.loading import Loading
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied
from tests.runtime.residency.models import INT4, admit, answer, residency

MODEL = Digest.of_bytes(b"a model")


def test_it_is_refused_after_some_deaths_and_tried_once_after_a_rest() -> None:
    now = [0.0]
    deaths = CrashHistory(clock=lambda: now[0])
    for _ in range(MOST):
        deaths.require_rested(MODEL, "tiny:int4")
        deaths.note(MODEL, RunnerDied("the model's process ended by signal SIGABRT", hint="its last words: oh"))
    with pytest.raises(ModelKeepsDying) as caught:
        deaths.require_rested(MODEL, "tiny:int4")
    assert caught.value.message == (
        "`tiny:int4` was loaded 3 times and has answered nothing: the model's process ended by signal SIGABRT"
    )
    assert (
        caught.value.hint
        == "its last words: oh; it is tried again in 5 min 00 s, or at once after `mlxbuild stop tiny:int4`"
    )
    now[0] += REST_SECONDS
    deaths.require_rested(MODEL, "tiny:int4")
    deaths.note(MODEL, RunnerDied("again"))
    with pytest.raises(ModelKeepsDying, match="4 times"):
        deaths.require_rested(MODEL, "tiny:int4")
    deaths.forget(MODEL)
    deaths.require_rested(MODEL, "tiny:int4")


def test_who_has_answered_is_loaded_again_however_often_it_is_killed(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store) as models:
            for _ in range(MOST + 1):
                async with models.lease(INT4) as lease:
                    await answer(lease.runner)
                    os.kill(lease.runner.process_id, signal.SIGKILL)
                    with pytest.raises(RunnerDied):
                        await answer(lease.runner, 300)

    asyncio.run(scenario())


def test_who_dies_with_every_request_is_refused_until_it_is_unloaded(hello_store: Store) -> None:
    async def die(models: Residency) -> None:
        async with models.lease(INT4) as lease:
            os.kill(lease.runner.process_id, signal.SIGSEGV)
            await answer(lease.runner, 300)

    async def scenario() -> None:
        async with residency(hello_store) as models:
            for _ in range(MOST):
                with pytest.raises(RunnerDied, match="SIGSEGV"):
                    await die(models)
            for _ in range(2):
                with pytest.raises(ModelKeepsDying, match=r"hello:int4.* 3 times .*SIGSEGV"):
                    await die(models)
            await models.unload(INT4)
            async with models.lease(INT4) as lease:
                await answer(lease.runner)

    asyncio.run(scenario())


def test_who_crashes_by_itself_is_tried_twice_for_a_request_and_refused_after_some_deaths(
    hello_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = tmp_path / "loads"
    program = tmp_path / "program"
    # Called as `program -I -m mlxbuild.runtime.runner DESCRIPTOR PARENT`.
    program.write_text(f"""#!{sys.executable}
import os, runpy, sys
from mlxbuild.runtime.engine.core.scheduler import Scheduler
with open({str(loads)!r}, "a") as file:
    file.write("1")
Scheduler.iterate = lambda self: os.abort()
sys.argv[1:] = sys.argv[4:]
runpy.run_module("mlxbuild.runtime.runner", run_name="__main__")
""")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    async def ask(models: Residency) -> None:
        async with models.lease(INT4) as lease:
            await answer(lease)

    async def scenario() -> None:
        async with residency(hello_store) as models:
            with pytest.raises(RunnerDied, match="SIGABRT"):
                await ask(models)
            assert loads.read_text() == "1" * 2
            for _ in range(2):
                with pytest.raises(ModelKeepsDying, match=r"hello:int4.* 3 times .*SIGABRT"):
                    await ask(models)
            assert loads.read_text() == "1" * MOST

    asyncio.run(scenario())


def test_what_is_being_prepared_when_its_process_dies_is_asked_once_more_and_no_more(hello_store: Store) -> None:
    slow = AnswerFormat({"type": "object", "patternProperties": {f"^p{number}[a-z]*$": {} for number in range(500)}})

    async def scenario() -> None:
        async with residency(hello_store) as models, models.lease(INT4) as lease:
            first = lease.runner
            os.kill(first.process_id, signal.SIGSTOP)
            asking = asyncio.create_task(anext(lease.answer(CompletionRequest("x", format=slow))))
            await asyncio.sleep(0)  # it has been asked
            os.kill(first.process_id, signal.SIGKILL)
            while lease.runner is first:
                await asyncio.sleep(0.01)
            os.kill(lease.runner.process_id, signal.SIGKILL)
            with pytest.raises(RunnerDied, match="SIGKILL"):
                await asking
            assert len(lease.places) == 2

    asyncio.run(scenario())


def test_an_answer_that_has_begun_is_not_begun_again(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store) as models, models.lease(INT4) as lease:
            events = lease.answer(CompletionRequest("hello", options={"max_tokens": 300}))
            await anext(events)
            os.kill(lease.runner.process_id, signal.SIGKILL)
            with pytest.raises(RunnerDied, match="SIGKILL"):
                _ = [event async for event in events]
            assert models.resident() == []

    asyncio.run(scenario())


class Dying(Loading):
    """Has processes that die while they load."""

    loads = 0

    async def start(
        self, reference: Reference, digest: Digest, draft: DraftModel | None = None, *, memory_bytes: int
    ) -> Runner:
        self.loads += 1
        raise RunnerDied("the model's process ended by signal SIGABRT")


def test_who_dies_while_it_is_loaded_is_loaded_no_more_for_a_while(hello_store: Store) -> None:
    async def scenario() -> None:
        loading = Dying(hello_store, admit, Limits())
        models = Residency(loading, Limits())
        for expected in (*[RunnerDied] * MOST, *[ModelKeepsDying] * 2):
            with pytest.raises(expected):
                async with models.lease(INT4):
                    pytest.fail("it cannot be loaded")
        assert loading.loads == MOST
        await models.close()

    asyncio.run(scenario())
