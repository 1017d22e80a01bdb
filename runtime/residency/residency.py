"""Loads models when they are requested, and keeps them in memory for a while.

A loaded model answers at once, even while other models wait to be loaded. Requests for a model that is being loaded
share the load. `room` decides which models are unloaded for it.

A change of the trust policy takes effect with the next request: a model that is no longer admitted is refused and
unloaded.

Blobs are leased in the store only while a model is being loaded. A loaded model no longer needs them, so it does not
block garbage collection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.memory import OutOfMemory
from mlxbuild.runtime.residency.crash_history import CrashHistory
from mlxbuild.runtime.residency.draft_models import DraftModels
from mlxbuild.runtime.residency.errors import ServerBusy, ServerStopping
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.residency.lease import Lease
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.loading import Admit, Loading
from mlxbuild.runtime.residency.memory_need import PROCESS_BYTES
from mlxbuild.runtime.residency.reservation import Admission, MemoryReservation, Resident
from mlxbuild.runtime.residency.reservations import MemoryReservations, ReservationRequest
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied, RunnerStalled

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(eq=False)
class _Load:
    """A running load, and how many requests wait for it."""

    digest: Digest
    task: asyncio.Task[MemoryReservation] = field(init=False)
    waiters: int = 0
    admitted: set[Admission] = field(default_factory=set)
    """The names by which the model may be used."""
    unloads: bool = False
    """Whether the model was asked to be unloaded meanwhile."""


class Residency:
    """The loaded models of one server. Not thread-safe: for one event loop."""

    def __init__(self, loading: Loading, limits: Limits) -> None:
        self.limits = limits
        self._loading = loading
        self._room = MemoryReservations(limits)
        self._deaths = CrashHistory()
        self._names: dict[str, Digest] = {}
        """The digest that each name had when it was last requested."""
        self._pinned: set[str] = set()
        self._loads: dict[Digest, _Load] = {}
        self._entering = 0
        self._closed = False

    @classmethod
    def of(
        cls, store: Store, admit: Admit, limits: Limits | None = None, *, drafts: DraftModels | None = None
    ) -> Residency:
        """Manage the models of a store; `admit` is called before a model or draft is loaded, and for every name."""
        limits = limits or Limits()
        return cls(Loading(store, admit, limits, drafts), limits)

    @contextlib.asynccontextmanager
    async def lease(self, reference: str, *, keep_alive: KeepAlive | None = None) -> AsyncIterator[Lease]:
        """Use a model by its name, loading it if necessary; it stays until the lease ends and for `keep_alive` after.

        A `keep_alive` also applies to later requests that set none.

        Raises:
            InvalidReference, UnknownReference: nothing in the store has that name.
            ServerBusy: too many requests wait for models to load.
            ModelTooLarge, NoRoom, OutOfMemory: there is not enough memory for the model.
            ModelKeepsDying: its processes ended before they had answered anything.
            DraftMissing, DraftUnusable: its draft model is missing or cannot be used.
            MlxbuildError: the model is not admitted, or cannot be loaded.
        """
        began = time.perf_counter()
        parsed = Reference.parse(reference)

        async def take() -> MemoryReservation:
            place = await self._take(parsed)
            place.pinned = place.pinned or str(parsed) in self._pinned
            if keep_alive is not None:
                place.keep_alive = keep_alive
            return place

        lease = Lease(await take(), time.perf_counter() - began, take)
        try:
            yield lease
        finally:
            for place in lease.places:
                self._release(place)

    async def pin(self, reference: str) -> None:
        """Load a model, and never unload the model of this name for others or because it expires; only by `unload`."""
        self._pinned.add(str(Reference.parse(reference)))
        async with self.lease(reference):
            pass

    async def unload(self, reference: str) -> bool:
        """Unload a model after its last request, and wait until it is; returns False if it was not loaded."""
        parsed = Reference.parse(reference)
        digest = parsed.digest or self._names.get(parsed.store_name)
        if digest is None:
            return False
        self._deaths.forget(digest)
        if (load := self._loads.get(digest)) is not None:
            load.unloads = True
            await asyncio.wait([load.task])
            place = None if load.task.cancelled() or load.task.exception() else load.task.result()
        else:
            place = self._room.usable(digest)
        if place is None:
            return load is not None
        self._room.leave(place)
        await self._room.gone(place)
        return True

    def resident(self) -> list[Resident]:
        """The loaded models, the last to expire first."""
        told = [place.told() for place in self._room.loaded]
        return sorted(told, key=lambda each: each.expires_at or _NEVER, reverse=True)

    @property
    def waiting(self) -> int:
        """How many requests wait for a model to load."""
        return self._entering + sum(load.waiters for load in self._loads.values())

    async def close(self) -> None:
        """Stop every runner; requests that are still running fail."""
        self._closed = True
        loads = [load.task for load in self._loads.values()]
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await self._room.close()

    # How a request gets a model.

    async def _take(self, reference: Reference) -> MemoryReservation:
        """Acquire a place with a loaded model, whose count of users is increased."""
        digest = self._loading.store.tags.resolve(reference)
        self._name(reference, digest)
        admission = str(reference), self._loading.policy()
        place = self._room.usable(digest)
        if place is None:
            return await self._wait(reference, digest, admission)
        place.use()
        if admission not in place.admitted:
            try:
                await self._loading.admit(reference, digest, place.draft)
            except BaseException as error:
                if isinstance(error, TrustError) and not place.is_admitted(admission[1]):
                    self._room.leave(place)
                self._release(place)
                raise
            place.admitted.add(admission)
        return place

    def _name(self, reference: Reference, digest: Digest) -> None:
        """Record the digest of a name; a model that no name refers to any more is unloaded."""
        if reference.digest is not None:
            return
        before = self._names.get(reference.store_name)
        self._names[reference.store_name] = digest
        if before is None or before in self._names.values():
            return
        if (place := self._room.usable(before)) is not None:
            self._room.leave(place)

    async def _wait(self, reference: Reference, digest: Digest, admission: Admission) -> MemoryReservation:
        if self.waiting >= self.limits.max_queue:
            raise ServerBusy(
                "server busy, please try again.  maximum pending requests exceeded",
                hint=f"try again later, or raise `serve.max_queue` {self.limits.places.of('max_queue')}, "
                f"now {self.limits.max_queue}",
            )
        self._entering += 1
        try:
            # Before it joins other requests: their names may be admitted where this one is not.
            await self._loading.admit(reference, digest)
        finally:
            self._entering -= 1
        if self._closed:
            raise ServerStopping("the server is stopping")
        if (place := self._room.usable(digest)) is not None:
            place.use()
            place.admitted.add(admission)
            return place
        load = self._loads.get(digest)
        if load is None:
            load = self._loads[digest] = _Load(digest)
            load.task = asyncio.create_task(self._load(load, reference))
        load.admitted.add(admission)
        return await self._share(load)

    async def _share(self, load: _Load) -> MemoryReservation:
        """Wait for a load together with other requests; the load counts this one as a user of its place."""
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

    def _release(self, place: MemoryReservation) -> None:
        place.leave_alone()
        if not place.users:
            self._room.rest(place)

    # How a model gets into memory.

    async def _load(self, load: _Load, reference: Reference) -> MemoryReservation:
        try:
            self._deaths.require_rested(load.digest, reference.store_name)
            draft = await self._loading.draft(reference, load.digest)
            need = await self._loading.need(reference, load.digest, draft)
            place = await self._room.take(ReservationRequest(load.digest, reference.store_name, need, draft))
            try:
                runner = await self._started(place, reference)
            except BaseException as error:
                self._room.give_back(place)
                if isinstance(error, RunnerDied | RunnerStalled):
                    self._deaths.note(load.digest, error)
                raise
            place.size_bytes = runner.loaded.size_bytes + need.working_bytes
            place.admitted = load.admitted
            place.use(load.waiters)
            self._room.fill(place, runner)
            runner.on_end(lambda: self._ended(load.digest, runner))
            if load.unloads:
                self._room.leave(place)
            return place
        finally:
            self._forget(load)

    async def _started(self, place: MemoryReservation, reference: Reference) -> Runner:
        """Start the runner of a model; if there is not enough memory, unload the others and try once more."""
        try:
            return await self._start(place, reference)
        except (OutOfMemory, RunnerDied):
            if not await self._room.clear():
                raise
        return await self._start(place, reference)

    async def _start(self, place: MemoryReservation, reference: Reference) -> Runner:
        memory_bytes = max(0, self._room.bytes_for(place) - PROCESS_BYTES)
        return await self._loading.start(reference, place.digest, place.draft, memory_bytes=memory_bytes)

    def _ended(self, digest: Digest, runner: Runner) -> None:
        if runner.has_answered:
            self._deaths.forget(digest)
        elif runner.death is not None:
            self._deaths.note(digest, runner.death)

    def _forget(self, load: _Load) -> None:
        if self._loads.get(load.digest) is load:
            del self._loads[load.digest]
