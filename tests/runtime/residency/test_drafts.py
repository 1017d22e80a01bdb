"""Which model drafts for which: by patterns of names, admitted and counted with the model that it drafts for."""

from __future__ import annotations

import asyncio

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.draft_models import DraftModels
from mlxbuild.runtime.residency.errors import DraftMissing, ModelTooLarge
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.memory_need import PROCESS_BYTES, MemoryNeed
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.runner.client import Runner
from tests.runtime.residency.models import FULL, INT4, INT8, admit, answer, digest_of


@pytest.mark.parametrize(
    ("names", "draft"),
    [
        ({}, None),
        ({"hello:none@1.0": INT4}, INT4),
        ({"hello:none-1.0": INT4}, INT4),
        ({"hello": INT8}, INT8),
        ({"*": INT4, "hello:none*": INT8}, INT4),
        ({"other": INT8, "hel*:none@*": INT4}, INT4),
        ({"none": INT4, "hello:int*": INT4}, None),
        ({"*": FULL}, None),
    ],
)
def test_the_first_pattern_that_matches_decides(hello_store: Store, names: dict[str, str], draft: str | None) -> None:
    found = DraftModels(names).of(hello_store, Reference.parse(FULL), digest_of(hello_store, FULL))
    assert (found and str(found.reference)) == (draft and str(Reference.parse(draft)))
    assert (found and found.digest) == (draft and digest_of(hello_store, draft))


def test_it_does_not_matter_by_which_name_a_model_is_asked_for(hello_store: Store) -> None:
    digest = digest_of(hello_store, FULL)
    found = DraftModels({"hello:none-1.0": INT4}).of(hello_store, Reference("hello", digest=digest), digest)
    assert found is not None
    assert found.digest == digest_of(hello_store, INT4)


def test_a_draft_that_is_not_there_is_told_with_its_setting(hello_store: Store) -> None:
    with pytest.raises(DraftMissing, match=r"`hello:int5` cannot draft for `hello:none-1\.0`") as missing:
        DraftModels({"hello": "hello:int5"}, "config.yaml:3").of(
            hello_store, Reference.parse(FULL), digest_of(hello_store, FULL)
        )
    assert "config.yaml:3" in str(missing.value.hint)
    assert "`hello:int4`" in str(missing.value.hint)


def test_a_draft_is_counted_with_its_model(hello_store: Store) -> None:
    full, int4 = (MemoryNeed.of(hello_store, digest_of(hello_store, name)) for name in (FULL, INT4))
    both = MemoryNeed.of(hello_store, digest_of(hello_store, FULL), digest_of(hello_store, INT4))
    assert both.weights_bytes == full.weights_bytes + int4.weights_bytes
    assert both.working_bytes == full.working_bytes + int4.working_bytes - PROCESS_BYTES
    drafts = DraftModels({"hello:none*": INT4})

    async def held(limits: Limits) -> int:
        models = Residency.of(hello_store, admit, limits, drafts=drafts)
        try:
            async with models.lease(FULL) as lease:
                await answer(lease.runner)
                (resident,) = models.resident()
                assert resident.draft is not None
                assert lease.runner.loaded.draft is not None
                assert resident.size_bytes == lease.runner.loaded.size_bytes + both.working_bytes
                return lease.runner.loaded.size_bytes
        finally:
            await models.close()

    assert asyncio.run(held(Limits(memory_bytes=both.total_bytes))) < both.total_bytes - PROCESS_BYTES
    with pytest.raises(ModelTooLarge):
        asyncio.run(held(Limits(memory_bytes=both.total_bytes - 1)))


def test_a_draft_has_to_be_admitted(hello_store: Store) -> None:
    asked: list[str] = []

    def admit_no_drafts(reference: Reference, digest: Digest) -> Digest:
        asked.append(reference.store_name)
        if "int4" in reference.store_name:
            raise TrustError("nobody has signed it", hint="sign it")
        return digest

    async def scenario() -> Runner:
        models = Residency.of(
            hello_store, admit_no_drafts, drafts=DraftModels({"hello:none*": INT4}, "MLXBUILD_DRAFTS")
        )
        try:
            async with models.lease(FULL) as lease:
                return lease.runner
        finally:
            assert models.resident() == []
            await models.close()

    with pytest.raises(TrustError, match=r"`hello:int4-1\.0` cannot draft for `hello:none-1\.0`: nobody") as refused:
        asyncio.run(scenario())
    assert refused.value.hint == "sign it; `drafts` is set by MLXBUILD_DRAFTS"
    assert "hello:int4-1.0" in asked
