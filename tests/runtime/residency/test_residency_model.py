"""Residency under any order of requests, ends, deaths and moved names, against a pool of small real processes.

The processes only sleep, so that hundreds of orders can be tried; what is checked is what they cannot be talked out of:
how many there are, and whose they are.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import StepError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.protocol.loaded import Loaded, WeightsInMemory
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.errors import ServerBusy
from mlxbuild.runtime.residency.keep_alive import FOREVER, KeepAlive
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.loading import Loading
from mlxbuild.runtime.residency.memory_need import PROCESS_BYTES, MemoryNeed
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied
from tests.runtime.residency.models import admit, tag

NAMES = ("a:latest", "b:latest", "c:latest", "d:latest")
MEMORY_BYTES = 300 << 20
LIMITS = Limits(max_loaded_models=2, memory_bytes=MEMORY_BYTES, max_queue=6, fairness_seconds=0.02)
HELD = WeightsInMemory("cpu", "float32", False, 30, "it is small")


class Sleeper:
    """A runner of a process that does nothing; ends as real ones do, and a little later than it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        self.loaded = Loaded("", HELD, 1, ("completion",))
        self.limits = 0, 0
        """Of its caches, once it was told."""
        self._tells: list[Callable[[], None]] = []
        self._has_ended = False
        self.has_answered = False
        self.death = None
        self._ending: asyncio.Task[None] | None = None

    def on_end(self, tell: Callable[[], None]) -> None:
        if self._has_ended:
            tell()
        self._tells.append(tell)

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        self.limits = cache_bytes, prefix_bytes

    async def stop(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    kill = stop

    @property
    def alive(self) -> bool:
        return self._ending is None

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    async def _end(self) -> None:
        await asyncio.sleep(0.001)
        self.process.kill()
        self.process.wait()
        self._has_ended = True
        for tell in self._tells:
            tell()


class Pool(Loading):
    """Loads sleepers, and remembers them; some loads fail."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, admit, LIMITS)
        self.sleepers: list[Sleeper] = []
        self.fails = False

    async def need(self, reference: Reference, digest: Digest, draft: DraftModel | None = None) -> MemoryNeed:
        await asyncio.sleep(0)
        return MemoryNeed(weights_bytes=30, cache_bytes=10)

    async def start(
        self, reference: Reference, digest: Digest, draft: DraftModel | None = None, *, memory_bytes: int
    ) -> Runner:
        sleeper = Sleeper()
        self.sleepers.append(sleeper)
        try:
            await asyncio.sleep(0.002)
            if self.fails:
                self.fails = False
                raise StepError("this load fails")
            if not sleeper.lives:
                raise RunnerDied("it died while it was loaded")
        except BaseException:
            await sleeper.stop()
            raise
        return cast(Runner, sleeper)

    @property
    def living(self) -> int:
        return sum(sleeper.lives for sleeper in self.sleepers)


@dataclass(eq=False)
class Client:
    """One request: waits for its lease, then holds it until it is let go."""

    name: str
    letting_go: asyncio.Event = field(default_factory=asyncio.Event)
    sleeper: Sleeper | None = None
    task: asyncio.Task[None] | None = None

    async def ask(self, models: Residency, keep_alive: KeepAlive | None) -> None:
        with suppress(StepError, RunnerDied, ServerBusy):
            async with models.lease(self.name, keep_alive=keep_alive) as lease:
                self.sleeper = cast(Sleeper, lease.runner)
                try:
                    await self.letting_go.wait()
                finally:
                    self.sleeper = None


class Machine(RuleBasedStateMachine):
    """All that clients, operators and the system can do."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.pool = Pool(self.store)
        self.digests = [self.store.put(str(number).encode()).digest for number in range(len(NAMES))]
        for name, digest in zip(NAMES, self.digests, strict=True):
            tag(self.store, name, digest)
        self.models = self.run(lambda: Residency(self.pool, LIMITS))
        self.clients: list[Client] = []
        self.unloading: list[asyncio.Task[bool]] = []
        self.killed: set[Sleeper] = set()

    def run(self, act: Callable[[], Any]) -> Any:
        """Do something where the loop runs, and let others have a turn."""

        async def acting() -> Any:
            done = act()
            await asyncio.sleep(0)
            return done

        return self.loop.run(acting())

    @rule(name=st.sampled_from(NAMES), keep_alive=st.sampled_from([None, KeepAlive(0), KeepAlive(0.003), FOREVER]))
    def ask(self, name: str, keep_alive: KeepAlive | None) -> None:
        client = Client(name)

        def begin() -> None:
            client.task = asyncio.create_task(client.ask(self.models, keep_alive))

        self.run(begin)
        self.clients.append(client)

    @rule(number=st.integers(0, 30))
    def let_go(self, number: int) -> None:
        for client in self.clients[number : number + 1]:
            self.run(client.letting_go.set)

    @rule(number=st.integers(0, 30))
    def vanish(self, number: int) -> None:
        for client in self.clients[number : number + 1]:
            assert client.task is not None
            self.run(client.task.cancel)

    @rule(name=st.sampled_from(NAMES))
    def unload(self, name: str) -> None:
        self.unloading.append(self.run(lambda: asyncio.create_task(self.models.unload(name))))

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, len(NAMES) - 1))
    def move(self, name: str, number: int) -> None:
        tag(self.store, name, self.digests[number])

    @rule(number=st.integers(0, 3))
    def die(self, number: int) -> None:
        """Whatever can be drawn does not depend on time, so that a failure can be repeated; what it does, does."""
        for sleeper in [each for each in self.pool.sleepers if each.lives][number : number + 1]:
            self.killed.add(sleeper)
            self.loop.run(sleeper.stop())

    @rule()
    def fail_the_next_load(self) -> None:
        self.pool.fails = True

    @rule(steps=st.integers(1, 20))
    def time_passes(self, steps: int) -> None:
        self.loop.run(asyncio.sleep(steps / 1000))

    @invariant()
    def never_too_many(self) -> None:
        assert self.pool.living <= LIMITS.max_loaded_models
        assert self.models.waiting <= LIMITS.max_queue

    @invariant()
    def never_more_memory(self) -> None:
        living = [sleeper for sleeper in self.pool.sleepers if sleeper.lives]
        assert sum(HELD.size_bytes + PROCESS_BYTES + sum(sleeper.limits) for sleeper in living) <= MEMORY_BYTES

    @invariant()
    def nobody_loses_what_he_holds(self) -> None:
        for client in self.clients:
            if client.sleeper is not None and client.sleeper not in self.killed:
                assert client.sleeper.lives

    def teardown(self) -> None:
        async def all_end() -> None:
            for client in self.clients:
                client.letting_go.set()
            tasks = [client.task for client in self.clients if client.task is not None]
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            await asyncio.wait_for(asyncio.gather(*self.unloading), 20)
            assert self.models.waiting == 0
            assert all(resident.requests == 0 for resident in self.models.resident())
            await asyncio.wait_for(self.models.close(), 20)
            assert self.models.resident() == []

        try:
            self.loop.run(all_end())
            assert self.pool.living == 0
        finally:
            for sleeper in self.pool.sleepers:
                sleeper.process.kill()
                sleeper.process.wait()
            self.loop.close()


def test_no_order_of_events_breaks_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    numbers = itertools.count()

    class Fresh(Machine):
        def __init__(self) -> None:
            self.store = Store.open(Home(tmp_path_factory.mktemp("orders") / str(next(numbers))))
            super().__init__()

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Fresh,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
