"""Caches of models that are in memory together keep within one budget, however full they are."""

from __future__ import annotations

import asyncio

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.protocol.requests import CompletionRequest
from mlxbuild.runtime.residency.keep_alive import FOREVER
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.memory_need import MemoryNeed
from mlxbuild.runtime.runner.client import Runner
from tests.runtime.residency.models import INT4, INT8, digest_of, residency
from tests.runtime.vitals import told_anew


async def fill_prefixes(runner: Runner, prompts: int) -> None:
    """Have it keep what it read of many long prompts."""
    for number in range(prompts):
        prompt = " ".join(f"{number} {word}" for word in range(40))
        request = CompletionRequest(prompt, options={"max_tokens": 1})
        async for _ in runner.answer(request):
            pass


async def heard_of(runner: Runner) -> int:
    """What its prefix cache holds."""
    return (await told_anew(runner)).engine.prefixes.size_bytes


def test_two_full_prefix_caches_keep_within_the_budget(hello_store: Store) -> None:
    needs = [MemoryNeed.of(hello_store, digest_of(hello_store, name)) for name in (INT4, INT8)]
    spare_bytes = 80 << 20
    budget_bytes = sum(need.total_bytes for need in needs) + spare_bytes

    async def scenario() -> None:
        async with residency(hello_store, Limits(memory_bytes=budget_bytes)) as models:
            async with models.lease(INT4, keep_alive=FOREVER) as first:
                await fill_prefixes(first.runner, 12)
                alone_bytes = await heard_of(first.runner)
                async with models.lease(INT8, keep_alive=FOREVER) as second:
                    beside_bytes = await heard_of(first.runner)
                    await fill_prefixes(second.runner, 12)
                    for lease in (first, second):
                        await fill_prefixes(lease.runner, 4)
                    both_bytes = [await heard_of(lease.runner) for lease in (first, second)]
                    assert all(both_bytes)
                    assert beside_bytes < alone_bytes
                    assert sum(both_bytes) <= spare_bytes // 8
                assert await models.unload(INT8)
                await fill_prefixes(first.runner, 12)
                assert await heard_of(first.runner) > max(both_bytes)

    asyncio.run(scenario())
