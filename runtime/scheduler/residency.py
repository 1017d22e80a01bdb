"""Which models are in memory: loads them when they are asked for, keeps them for a while, and lets them go for others.

A model that is loaded answers at once, whatever waits. Loads wait in one line by age; the first of it may let models
go: idle ones, the least recently used first, and after a while busy ones too, which then take no new requests and go
when their last one has ended. So no model waits for ever behind one that is never idle.

Blobs are held in the store only while a model is being loaded. A loaded one needs them no more, and garbage collection
runs beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from registry.digest import Digest
from registry.reference import Reference
from registry.store.layout import Store
from runtime.model.memory import OutOfMemory, available_bytes
from runtime.runner.client import Runner
from runtime.runner.errors import RunnerDied
from runtime.scheduler.errors import ModelTooLarge, NoRoom, ServerBusy, ServerStopping
from runtime.scheduler.keep_alive import KeepAlive
from runtime.scheduler.limits import Limits
from runtime.scheduler.loading import Admit, Loading
from runtime.scheduler.need import Need
from runtime.scheduler.place import Lease, Place, Resident


@dataclass(eq=False)
class _Load:
    """A load under way, and how many requests wait for it."""

    digest: Digest
    task: asyncio.Task[Place] = field(init=False)
    waiters: int = 0
    admitted: set[str] = field(default_factory=set)
    unloads: bool = False
    """Whether it was asked meanwhile that the model should go."""
    began: float = field(default_factory=time.monotonic)


class Residency:
    """The models of one server. For one event loop."""

    def __init__(self, loading: Loading, limits: Limits) -> None:
        self.limits = limits
        self._loading = loading
        self._tags = loading.store.tags
        self._budget_bytes = self.limits.memory_bytes or available_bytes() * 4 // 5
        self._places: dict[Digest, Place] = {}
        self._taken: set[Place] = set()
        self._names: dict[str, Digest] = {}
        self._pinned: set[str] = set()
        self._loads: dict[Digest, _Load] = {}
        self._line: list[_Load] = []
        self._changed = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()
        self._entering = 0
        self._closed = False

    @classmethod
    def of(cls, store: Store, admit: Admit, limits: Limits | None = None) -> Residency:
        """Models of a store; `admit` is asked before one is loaded, and for every further name of it."""
        limits = limits or Limits()
        return cls(Loading(store, admit, limits), limits)

    @contextlib.asynccontextmanager
    async def lease(self, reference: str, *, keep_alive: KeepAlive | None = None) -> AsyncIterator[Lease]:
        """The model of a name, loaded if it is not; it stays as long as this is held, and `keep_alive` longer.

        A `keep_alive` also holds for later requests that name none.

        Raises:
            InvalidReference, UnknownReference: nothing in the store has that name.
            ServerBusy: too many requests wait for loads.
            ModelTooLarge, NoRoom, OutOfMemory: there is no memory for it.
            MlxbuildError: it is not admitted, or cannot be loaded.
        """
        began = time.perf_counter()
        parsed = Reference.parse(reference)
        place = await self._take(parsed)
        try:
            place.pinned = place.pinned or str(parsed) in self._pinned
            if keep_alive is not None:
                place.keep_alive = keep_alive
            assert place.runner is not None
            yield Lease(place.runner, place.digest, time.perf_counter() - began)
        finally:
            self._release(place)

    async def pin(self, reference: str) -> None:
        """Load a model, and never let what has this name go for others or for age; only `unload` does that."""
        self._pinned.add(str(Reference.parse(reference)))
        async with self.lease(reference):
            pass

    async def unload(self, reference: str) -> bool:
        """Let a model go after its last request; returns when it has gone. False if it was not there."""
        parsed = Reference.parse(reference)
        digest = parsed.digest or self._names.get(parsed.store_name)
        if digest is None:
            return False
        if (load := self._loads.get(digest)) is not None:
            load.unloads = True
            await asyncio.wait([load.task])
            place = None if load.task.cancelled() or load.task.exception() else load.task.result()
        else:
            place = self._places.get(digest)
        if place is None:
            return load is not None
        self._leave(place)
        while place in self._taken:
            await self._change()
        return True

    def resident(self) -> list[Resident]:
        """Models that are loaded; the one that stays longest first."""
        places = [place for place in self._taken if place.runner is not None]
        return sorted((place.told() for place in places), key=lambda each: each.expires_at or _NEVER, reverse=True)

    @property
    def waiting(self) -> int:
        """Requests that wait for a load."""
        return self._entering + sum(load.waiters for load in self._loads.values())

    async def close(self) -> None:
        """End every runner; requests that are still answered fail."""
        self._closed = True
        loads = [load.task for load in self._loads.values()]
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        places = list(self._taken)
        for place in places:
            self._leave(place)
            if place.users:
                self._end(place)
        await asyncio.gather(*self._endings)

    # A request's way to a model.

    async def _take(self, reference: Reference) -> Place:
        """A place with a loaded model, of which one more use is counted."""
        digest = self._tags.resolve(reference)
        self._name(reference, digest)
        place = self._places.get(digest)
        if place is None:
            return await self._wait(reference, digest)
        self._use(place)
        if str(reference) not in place.admitted:
            try:
                await self._loading.admit(reference, digest)
            except BaseException:
                self._release(place)
                raise
            place.admitted.add(str(reference))
        return place

    def _name(self, reference: Reference, digest: Digest) -> None:
        """Note what a name means now; a model that no name means any more goes."""
        if reference.digest is not None:
            return
        before = self._names.get(reference.store_name)
        self._names[reference.store_name] = digest
        if before is None or before in self._names.values():
            return
        if (place := self._places.get(before)) is not None:
            self._leave(place)

    async def _wait(self, reference: Reference, digest: Digest) -> Place:
        if self._closed:
            raise ServerStopping("the server is stopping")
        if self.waiting >= self.limits.max_queue:
            raise ServerBusy("server busy, please try again.  maximum pending requests exceeded")
        self._entering += 1
        try:
            # Before it joins others: their names may be admitted where this one is not.
            await self._loading.admit(reference, digest)
        finally:
            self._entering -= 1
        if (place := self._places.get(digest)) is not None:
            self._use(place)
            place.admitted.add(str(reference))
            return place
        load = self._loads.get(digest)
        if load is None:
            load = self._loads[digest] = _Load(digest)
            load.task = asyncio.create_task(self._load(load, reference))
        load.admitted.add(str(reference))
        return await self._share(load)

    async def _share(self, load: _Load) -> Place:
        """Wait for a load with others; a use of its place is this one's."""
        load.waiters += 1
        try:
            return await asyncio.shield(load.task)
        except BaseException as error:
            load.waiters -= 1
            if not load.task.done():
                if not load.waiters:
                    load.task.cancel()
                    self._forget(load)
            elif load.task.cancelled():
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling():
                    raise ServerStopping("the server is stopping") from None
            elif load.task.exception() is None:
                self._release(load.task.result())
            raise

    def _use(self, place: Place) -> None:
        place.users += 1
        place.last_used = time.monotonic()
        place.wake()

    def _release(self, place: Place) -> None:
        place.users -= 1
        place.last_used = time.monotonic()
        if place.users:
            return
        if place.leaving:
            self._end(place)
        elif place.keep_alive.seconds == 0 and not place.pinned:
            self._leave(place)
        elif place.keep_alive.seconds is not None and not place.pinned:
            loop = asyncio.get_running_loop()
            place.expires = loop.call_later(place.keep_alive.seconds, self._leave, place)
        self._wake()

    # Loading.

    async def _load(self, load: _Load, reference: Reference) -> Place:
        try:
            need = await self._loading.need(reference, load.digest)
            self._line.append(load)
            try:
                place = await self._room(load, reference, need)
            finally:
                self._line.remove(load)
                self._wake()
            try:
                place.runner = await self._started(place, reference, need)
            except BaseException:
                self._taken.discard(place)
                self._wake()
                raise
            place.size_bytes = place.runner.loaded.holding.size_bytes + need.working_bytes
            place.admitted = load.admitted
            place.users = load.waiters
            place.last_used = time.monotonic()
            self._places[load.digest] = place
            place.runner.on_end(lambda: self._ended(place))
            if load.unloads:
                self._leave(place)
            self._wake()  # it may have to go again
            return place
        finally:
            self._forget(load)

    async def _started(self, place: Place, reference: Reference, need: Need) -> Runner:
        """The runner of a model; tried once more with nothing beside it when there is not enough memory."""
        try:
            return await self._start(place, reference, need)
        except (OutOfMemory, RunnerDied):
            others = [each for each in self._taken if each.may_go]
            if not others:
                raise
            for each in others:
                self._leave(each)
            while any(each in self._taken for each in others):
                await self._change()
        return await self._start(place, reference, need)

    async def _start(self, place: Place, reference: Reference, need: Need) -> Runner:
        others = sum(each.size_bytes for each in self._taken if each is not place)
        memory_bytes = max(0, self._budget_bytes - others - need.working_bytes)
        return await self._loading.start(reference, place.digest, memory_bytes=memory_bytes)

    def _forget(self, load: _Load) -> None:
        if self._loads.get(load.digest) is load:
            del self._loads[load.digest]

    # Room.

    async def _room(self, load: _Load, reference: Reference, need: Need) -> Place:
        """A place that is taken from now on."""
        if need.total_bytes > self._budget_bytes:
            raise ModelTooLarge(
                f"the model needs {need.total_bytes} bytes of memory, and models may take {self._budget_bytes}",
                where=str(reference),
                hint="raise the server's memory limit, or take a smaller variant",
            )
        asyncio.get_running_loop().call_later(self.limits.fairness_seconds, self._wake)
        while not (self._is_first(load) and self._fits(need, self._taken)):
            if self._is_first(load):
                self._make_room(load, reference, need)
            await self._change()
        place = Place(load.digest, reference.store_name, need.total_bytes, self.limits.keep_alive)
        self._taken.add(place)
        return place

    def _is_first(self, load: _Load) -> bool:
        """Whether it is its turn. One whose model is still going away is passed by: there are never two of it."""
        return load is next((each for each in self._line if not self._has(each.digest)), None)

    def _make_room(self, load: _Load, reference: Reference, need: Need) -> None:
        """Let go as many models as it takes, if they may go yet."""
        waited = time.monotonic() - load.began
        while not self._fits(need, staying := self._staying()):
            loaded = [place for place in staying if place.may_go]
            idle = [place for place in loaded if not place.users]
            candidates = idle or (loaded if waited >= self.limits.fairness_seconds else [])
            if candidates:
                self._leave(min(candidates, key=lambda place: place.last_used))
                continue
            if all(place.pinned for place in staying):
                raise NoRoom(
                    "every place for a model is taken by a pinned one",
                    where=str(reference),
                    hint="pin fewer models, or raise the limits on models and memory",
                )
            return

    def _staying(self) -> list[Place]:
        return [place for place in self._taken if not place.leaving]

    def _fits(self, need: Need, beside: set[Place] | list[Place]) -> bool:
        taken_bytes = sum(place.size_bytes for place in beside)
        return len(beside) < self.limits.max_loaded_models and taken_bytes + need.total_bytes <= self._budget_bytes

    def _has(self, digest: Digest) -> bool:
        return any(place.digest == digest for place in self._taken)

    # Going.

    def _leave(self, place: Place) -> None:
        """No new requests; gone after the last one."""
        if place.leaving:
            return
        place.leaving = True
        place.wake()
        if self._places.get(place.digest) is place:
            del self._places[place.digest]
        if not place.users:
            self._end(place)

    def _end(self, place: Place) -> None:
        if place.runner is not None:
            task = asyncio.create_task(place.runner.stop())
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    def _ended(self, place: Place) -> None:
        """The process is no more, by our will or not."""
        place.leaving = True
        place.wake()
        if self._places.get(place.digest) is place:
            del self._places[place.digest]
        self._taken.discard(place)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()


_NEVER = datetime.max.replace(tzinfo=UTC)
