"""A trust policy that changes while models are in memory: what it no longer admits is refused, and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.errors import InvalidPolicy, Untrusted
from mlxbuild.registry.trust.evidence import sign, signature
from mlxbuild.registry.trust.keys import generate, write_pair
from mlxbuild.registry.trust.policy import POLICY_NAME, admit
from mlxbuild.runtime.residency.draft_models import DraftModels
from mlxbuild.runtime.residency.keep_alive import FOREVER
from mlxbuild.runtime.residency.residency import Residency
from tests.runtime.residency.models import FULL, INT4, answer, digest_of, names, tag

Rules = Callable[[str], None]


@asynccontextmanager
async def held_to_policy(store: Store, asked: list[str], drafts: DraftModels | None = None) -> AsyncIterator[Residency]:
    """Models of a store under its home's policy."""

    def admit_by_policy(reference: Reference, digest: Digest) -> Digest:
        asked.append(reference.store_name)
        admit(store, reference, digest, tell=lambda reason: None)
        return digest

    models = Residency.of(store, admit_by_policy, drafts=drafts)
    try:
        yield models
    finally:
        await models.close()


@pytest.fixture
def rules(own_store: Store) -> Rules:
    """Writes the policy of that store, in which every name that matches has to be signed."""
    write_pair(generate(), own_store.home.root / "keys" / "acme.key", None)

    def write(pattern: str) -> None:
        path = own_store.home.root / POLICY_NAME
        path.write_text(f"- {{pattern: '{pattern}', mode: enforce, keys: [keys/acme.pub]}}\n")

    return write


async def ask(models: Residency, name: str) -> None:
    async with models.lease(name, keep_alive=FOREVER) as lease:
        await answer(lease.runner)


def test_what_is_no_longer_admitted_is_refused_and_goes(own_store: Store, rules: Rules) -> None:
    key = generate()

    async def scenario() -> None:
        asked: list[str] = []
        async with held_to_policy(own_store, asked) as models:
            await ask(models, INT4)
            loaded = len(asked)
            await ask(models, INT4)
            assert len(asked) == loaded, "the policy is the same one"
            rules("other")
            await ask(models, INT4)
            assert len(asked) == loaded + 1
            async with models.lease(INT4) as running:
                rules("hello:*")
                with pytest.raises(Untrusted):
                    await ask(models, INT4)
                await answer(running.runner)
            while models.resident():
                await asyncio.sleep(0.02)
            with pytest.raises(Untrusted):
                await ask(models, INT4)
            sign(own_store, key, signature(digest_of(own_store, INT4)))
            write_pair(key, own_store.home.root / "keys" / "new.key", None)
            policy = own_store.home.root / POLICY_NAME
            policy.write_text(policy.read_text().replace("acme.pub", "new.pub"))
            await ask(models, INT4)

    asyncio.run(scenario())


def test_a_name_given_later_counts_for_the_others_too(own_store: Store, rules: Rules) -> None:
    async def scenario() -> None:
        async with held_to_policy(own_store, []) as models:
            rules("guarded")
            await ask(models, INT4)
            tag(own_store, "guarded:latest", digest_of(own_store, INT4))
            for name in ("guarded", INT4):
                with pytest.raises(Untrusted):
                    await ask(models, name)
            while models.resident():
                await asyncio.sleep(0.02)
            own_store.tags.remove("guarded:latest")
            with pytest.raises(Untrusted):
                await ask(models, INT4)

    asyncio.run(scenario())


def test_a_policy_that_nobody_understands_refuses_and_unloads_nothing(own_store: Store) -> None:
    async def scenario() -> None:
        async with held_to_policy(own_store, []) as models:
            await ask(models, INT4)
            (own_store.home.root / POLICY_NAME).write_text("rules: none")
            with pytest.raises(InvalidPolicy):
                await ask(models, INT4)
            (own_store.home.root / POLICY_NAME).unlink()
            await ask(models, INT4)
            assert names(models) == {"hello:int4-1.0"}

    asyncio.run(scenario())


def test_a_draft_that_is_no_longer_admitted_goes_with_its_model(own_store: Store, rules: Rules) -> None:
    async def scenario() -> None:
        async with held_to_policy(own_store, [], DraftModels({"hello:none*": INT4}, "MLXBUILD_DRAFTS")) as models:
            await ask(models, FULL)
            rules("hello:int4*")
            for _ in range(2):
                with pytest.raises(Untrusted, match="cannot draft for"):
                    await ask(models, FULL)
            while models.resident():
                await asyncio.sleep(0.02)
            (own_store.home.root / POLICY_NAME).unlink()
            await ask(models, FULL)

    asyncio.run(scenario())
