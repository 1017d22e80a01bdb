"""From a store to a runner: blobs that are damaged or missing, or that collection would take; too little memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.files import FileRole
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store import gc, leases
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.model.memory import OutOfMemory
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.loading import Loading
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.runner.client import Runner
from tests.runtime.residency.models import INT4, INT8, admit, answer, digest_of, names, residency


def weights_path(store: Store, name: str) -> Path:
    """Where one of a model's weight files lies; may be written to."""
    files = Artifact.open(store, digest_of(store, name)).files
    path = store.path(next(file.blob.digest for file in files if file.role is FileRole.WEIGHT))
    path.chmod(0o644)
    return path


def test_damaged_weights_are_never_answered_with(own_store: Store) -> None:
    path = weights_path(own_store, INT4)
    sound = path.read_bytes()

    async def load(models: Residency) -> None:
        async with models.lease(INT4) as lease:
            await answer(lease.runner)

    async def scenario() -> None:
        async with residency(own_store) as models:
            for damaged in (sound[:-1] + bytes([sound[-1] ^ 1]), b"\xff" * len(sound), sound[:-1]):
                path.write_bytes(damaged)
                with pytest.raises(BlobCorrupt):
                    await load(models)
                assert models.resident() == []
            path.unlink()
            with pytest.raises(BlobMissing):
                await load(models)
            path.write_bytes(sound)
            await load(models)

    asyncio.run(scenario())


def test_a_loaded_model_answers_on_without_its_blobs_and_is_not_loaded_again(own_store: Store) -> None:
    async def scenario() -> None:
        async with residency(own_store) as models:
            async with models.lease(INT4) as lease:
                own_store.tags.remove("hello:int4-1.0")
                collected = await asyncio.to_thread(collect, own_store)
                assert collected.removed
                await answer(lease.runner)
            assert names(models) == {"hello:int4-1.0"}
            with pytest.raises(UnknownReference):
                async with models.lease(INT4):
                    pytest.fail("it has no name")
            async with models.lease(INT8) as lease:
                await answer(lease.runner)

    asyncio.run(scenario())


def collect(store: Store) -> gc.Collection:
    """What `mlxbuild gc` does, with nothing spared."""
    return gc.collect(store, grace_seconds=0)


def test_a_load_waits_for_collection_and_only_that_load(hello_store: Store) -> None:
    async def load(models: Residency) -> None:
        async with models.lease(INT8) as lease:
            await answer(lease.runner)

    async def scenario() -> None:
        async with residency(hello_store) as models, models.lease(INT4) as lease:
            with leases.exclusive(hello_store.home):
                loading = asyncio.create_task(load(models))
                given_up = asyncio.create_task(load(models))
                await asyncio.sleep(0.2)
                assert names(models) == {"hello:int4-1.0"}
                await answer(lease.runner)
                given_up.cancel()
            await loading

    asyncio.run(scenario())


class ShortOfMemory(Loading):
    """Loads really, but as long as another model is there only with an error, as a full machine would."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, admit, Limits())
        self.runners: list[Runner] = []

    async def start(
        self, reference: Reference, digest: Digest, draft: DraftModel | None = None, *, memory_bytes: int
    ) -> Runner:
        """Refused while another is alive."""
        if any(runner.alive for runner in self.runners):
            raise OutOfMemory("there is no memory left")
        runner = await super().start(reference, digest, draft, memory_bytes=memory_bytes)
        self.runners.append(runner)
        return runner


def test_a_load_without_memory_is_tried_again_with_nothing_beside_it(hello_store: Store) -> None:
    async def scenario() -> None:
        models = Residency(ShortOfMemory(hello_store), Limits())
        async with models.lease(INT4):
            pass
        async with models.lease(INT8) as lease:
            await answer(lease.runner)
        assert names(models) == {"hello:int8-1.0"}
        await models.pin(INT8)
        with pytest.raises(OutOfMemory):
            async with models.lease(INT4):
                pytest.fail("there is no memory")
        await models.close()

    asyncio.run(scenario())


class LeavingAtTheEnd(Loading):
    """Loads really, and has the one who waits leave in the moment in which that is done."""

    waiter: asyncio.Task[None] | None = None

    async def start(
        self, reference: Reference, digest: Digest, draft: DraftModel | None = None, *, memory_bytes: int
    ) -> Runner:
        """The runner, which nobody wants any more."""
        runner = await super().start(reference, digest, draft, memory_bytes=memory_bytes)
        if self.waiter is not None:
            asyncio.get_running_loop().call_soon(self.waiter.cancel)
        return runner


def test_who_leaves_as_his_model_is_ready_holds_nothing(hello_store: Store) -> None:
    async def ask(models: Residency) -> None:
        async with models.lease(INT4):
            pytest.fail("he had left")

    async def scenario() -> None:
        loading = LeavingAtTheEnd(hello_store, admit, Limits())
        models = Residency(loading, Limits())
        loading.waiter = asyncio.create_task(ask(models))
        await asyncio.gather(loading.waiter, return_exceptions=True)
        assert loading.waiter.cancelled()
        (resident,) = models.resident()
        assert resident.requests == 0
        assert await asyncio.wait_for(models.unload(INT4), 20)
        await models.close()

    asyncio.run(scenario())
