"""Which models are in memory: real processes that hold the example's variants, asked for in all orders."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from datetime import UTC, datetime

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.residency.errors import ModelTooLarge, NoRoom, ServerBusy
from mlxbuild.runtime.residency.keep_alive import FOREVER, KeepAlive
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.runner.errors import RunnerDied
from tests.runtime.residency.models import FULL, INT4, INT8, answer, digest_of, names, residency, tag


def test_requests_for_one_model_share_one_load(hello_store: Store) -> None:
    async def ask(models: Residency) -> tuple[int, float]:
        async with models.lease(INT4) as lease:
            await answer(lease.runner)
            return lease.runner.process_id, lease.load_seconds

    async def scenario() -> None:
        async with residency(hello_store) as models:
            processes, loads = zip(*await asyncio.gather(*(ask(models) for _ in range(20))), strict=True)
            assert len(set(processes)) == 1
            (resident,) = models.resident()
            assert resident.digest == digest_of(hello_store, INT4)
            assert resident.expires_at is not None
            assert 290 < (resident.expires_at - datetime.now(UTC)).total_seconds() < 300
            async with models.lease(INT4) as lease:
                assert lease.load_seconds < min(loads)

    asyncio.run(scenario())


def test_the_least_recently_used_idle_model_goes_for_another(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store, Limits(max_loaded_models=2)) as models:
            for name in (INT4, INT8, INT4, FULL):
                async with models.lease(name):
                    assert len(models.resident()) <= 2
            assert names(models) == {"hello:int4-1.0", "hello:none-1.0"}

    asyncio.run(scenario())


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_busy_model_is_waited_for_but_not_for_ever(hello_store: Store, is_loaded: bool) -> None:
    async def hot(models: Residency, until: asyncio.Event) -> None:
        while not until.is_set():
            async with models.lease(INT4) as lease:
                await answer(lease.runner)

    async def scenario() -> None:
        async with residency(hello_store, Limits(max_loaded_models=1, fairness_seconds=0.2)) as models:
            loaded = asyncio.Event()
            busy = [asyncio.create_task(hot(models, loaded)) for _ in range(3)]
            await asyncio.sleep(0.05)
            while is_loaded and not models.resident():
                await asyncio.sleep(0.05)
            async with models.lease(INT8) as lease:
                loaded.set()
                await answer(lease.runner)
            await asyncio.gather(*busy)

    asyncio.run(scenario())


def test_keep_alive_of_nothing_unloads_and_of_little_a_little_later(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store) as models:
            async with models.lease(INT4, keep_alive=KeepAlive(0)):
                assert names(models) == {"hello:int4-1.0"}
            async with models.lease(INT8, keep_alive=KeepAlive(0.2)):
                await asyncio.sleep(0.4)
                assert "hello:int8-1.0" in names(models)
            while models.resident():
                await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_unloading_waits_for_what_is_answered(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store) as models:
            assert not await models.unload(INT4)
            async with models.lease(INT4, keep_alive=FOREVER) as lease:
                unloading = asyncio.create_task(models.unload(INT4))
                await answer(lease.runner, 20)
                assert not unloading.done()
            assert await unloading
            assert models.resident() == []

    asyncio.run(scenario())


def test_a_killed_process_is_replaced_for_the_next_request(hello_store: Store) -> None:
    async def scenario() -> None:
        async with residency(hello_store) as models:
            async with models.lease(INT4) as lease:
                os.kill(lease.runner.process_id, signal.SIGKILL)
                with pytest.raises(RunnerDied):
                    await answer(lease.runner, 300)
            async with models.lease(INT4) as again:
                await answer(again.runner)
                assert again.runner is not lease.runner

    asyncio.run(scenario())


def test_more_waiting_requests_than_the_queue_takes_are_refused(hello_store: Store) -> None:
    async def ask(models: Residency) -> str:
        try:
            async with models.lease(INT4):
                return "answered"
        except ServerBusy as error:
            return f"{error.message} ({error.hint})"

    async def scenario() -> None:
        async with residency(hello_store, Limits(max_queue=3)) as models:
            outcomes = await asyncio.gather(*(ask(models) for _ in range(5)))
            assert outcomes.count("answered") == 3
            hint = "try again later, or raise `serve.max_queue` in config.yaml, now 3"
            assert outcomes.count(f"server busy, please try again.  maximum pending requests exceeded ({hint})") == 2
            assert await ask(models) == "answered"

    asyncio.run(scenario())


def test_a_load_that_nobody_waits_for_any_more_is_given_up(hello_store: Store) -> None:
    async def ask(models: Residency) -> None:
        async with models.lease(INT4):
            pytest.fail("it was given up before")

    async def scenario() -> None:
        async with residency(hello_store) as models:
            asking = [asyncio.create_task(ask(models)) for _ in range(100)]
            await asyncio.sleep(0.1)
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            assert models.waiting == 0
            async with models.lease(INT4) as lease:
                await answer(lease.runner)
            assert len(models.resident()) == 1

    asyncio.run(scenario())


def test_two_names_of_one_artifact_share_it_and_a_moved_name_lets_the_old_one_go(hello_store: Store) -> None:
    int4, int8 = digest_of(hello_store, INT4), digest_of(hello_store, INT8)
    tag(hello_store, "moving:latest", int4)
    tag(hello_store, "other:latest", int4)

    async def scenario() -> None:
        async with residency(hello_store) as models:
            async with models.lease("moving") as first, models.lease("other") as second:
                assert first.runner is second.runner
            tag(hello_store, "moving:latest", int8)
            async with models.lease("moving") as moved:
                assert moved.digest == int8
                assert {resident.digest for resident in models.resident()} == {int4, int8}
            tag(hello_store, "other:latest", int8)
            async with models.lease("other") as second:
                assert second.runner is moved.runner
            while len(models.resident()) > 1:
                await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_nothing_is_loaded_that_is_not_admitted(hello_store: Store) -> None:
    refused: list[str] = []

    def admit_few(reference: Reference, digest: Digest) -> Digest:
        if "int8" in reference.store_name:
            refused.append(reference.store_name)
            raise UserError("not this one")
        return digest

    async def scenario() -> None:
        models = Residency.of(hello_store, admit_few)
        async with models.lease(INT4):
            pass
        with pytest.raises(UserError, match="not this one"):
            async with models.lease(INT8):
                pytest.fail("it was admitted")
        assert names(models) == {"hello:int4-1.0"}
        with pytest.raises(UnknownReference):
            async with models.lease("nothing"):
                pytest.fail("there is none")
        await models.close()

    asyncio.run(scenario())
    assert refused == ["hello:int8-1.0"]


def test_what_is_above_the_memory_budget_is_a_clear_error(hello_store: Store) -> None:
    async def scenario() -> None:
        places = SettingOrigins({"memory": "--memory"})
        async with residency(hello_store, Limits(memory_bytes=10_000_000, places=places)) as models:
            with pytest.raises(ModelTooLarge, match=r"take 10 MB: weights as stored .*, process 134 MB$") as told:
                async with models.lease(INT4):
                    pytest.fail("there is no room")
            assert "or allow more memory: start the server with a larger --memory, now 10 MB" in str(told.value.hint)

    asyncio.run(scenario())


def test_a_pinned_model_stays(hello_store: Store) -> None:
    async def scenario() -> None:
        places = SettingOrigins({"memory": "MLXBUILD_MEMORY"})
        async with residency(hello_store, Limits(max_loaded_models=1, fairness_seconds=0, places=places)) as models:
            await models.pin(INT4)
            async with models.lease(INT4, keep_alive=KeepAlive(0)):
                pass
            with pytest.raises(NoRoom) as told:
                async with models.lease(INT8):
                    pytest.fail("there is no room")
            assert told.value.message == "every place for a model is taken by a pinned model"
            assert (
                told.value.hint
                == "pin fewer models, or allow more of them: raise `serve.max_loaded_models` in config.yaml, now 1"
            )
            (resident,) = models.resident()
            assert resident.expires_at is None
            os.kill(resident.runner.process_id, signal.SIGKILL)
            while models.resident():
                await asyncio.sleep(0.02)
            async with models.lease(INT4, keep_alive=KeepAlive(0)):
                pass
            assert names(models) == {"hello:int4-1.0"}
            assert await models.unload(INT4)

    asyncio.run(scenario())


def test_a_pinned_model_that_leaves_too_little_memory_is_told_with_the_numbers(hello_store: Store) -> None:
    async def scenario() -> None:
        limits = Limits(memory_bytes=200_000_000, fairness_seconds=0, places=SettingOrigins({"memory": "--memory"}))
        async with residency(hello_store, limits) as models:
            await models.pin(INT4)
            with pytest.raises(NoRoom) as told:
                async with models.lease(INT8):
                    pytest.fail("there is no room")
            size = r"1\d\d MB"
            assert re.fullmatch(
                rf"the model needs {size} of memory, and of the 200 MB that models may take, pinned ones take {size}: "
                rf"[^,]+ {size}",
                told.value.message,
            )
            assert (
                told.value.hint
                == "pin fewer models, or allow more memory: start the server with a larger --memory, now 200 MB"
            )

    asyncio.run(scenario())


def test_a_model_that_is_unloaded_while_it_loads_goes_after_its_request(hello_store: Store) -> None:
    async def ask(models: Residency) -> None:
        async with models.lease(INT4) as lease:
            await answer(lease.runner)

    async def scenario() -> None:
        async with residency(hello_store) as models:
            asking = asyncio.create_task(ask(models))
            await asyncio.sleep(0.1)
            assert models.resident() == []
            assert await models.unload(INT4)
            await asking
            assert models.resident() == []

    asyncio.run(scenario())
