"""Allocates memory to models: which have a place, which wait for one, and which are unloaded to make room.

Waiting models queue in order of arrival. The first may have others unloaded: idle ones, the least recently used first,
and after a while busy ones too, which then accept no new requests and are unloaded after their last one. So no model
waits forever behind one that is never idle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.runtime.model.memory import available_bytes
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.errors import ModelTooLarge, NoRoom
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.memory_need import MemoryNeed
from mlxbuild.runtime.residency.reservation import MemoryReservation
from mlxbuild.runtime.residency.shares import share_out
from mlxbuild.runtime.runner.client import Runner


@dataclass(frozen=True, slots=True, eq=False)
class ReservationRequest:
    """A request for a place."""

    digest: Digest
    name: str
    need: MemoryNeed
    draft: DraftModel | None = None
    since: float = field(default_factory=time.monotonic)


_MOST_NAMED = 3


class MemoryReservations:
    """The places for models: as many as the limits allow, and one per artifact. Not thread-safe: for one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._budget_bytes = limits.memory_bytes or available_bytes() * 4 // 5
        self._places: dict[Digest, MemoryReservation] = {}
        """Places stay here until their processes have ended."""
        self._line: list[ReservationRequest] = []
        self._changed = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def _told_budget(self) -> str:
        written = self._limits.memory_bytes
        return format_bytes(written) if written else "0, which is four fifths of what the machine had left"

    @property
    def loaded(self) -> list[MemoryReservation]:
        """The places with a loaded model."""
        return [place for place in self._places.values() if place.runner is not None]

    def usable(self, digest: Digest) -> MemoryReservation | None:
        """The place of an artifact if it accepts requests, else None."""
        place = self._places.get(digest)
        if place is None or place.runner is None or place.leaving or not place.runner.alive:
            return None
        return place

    async def take(self, claim: ReservationRequest) -> MemoryReservation:
        """Reserve a place to load a model into; waits until there is room.

        Raises:
            ModelTooLarge: the model does not fit into the budget at all.
            NoRoom: pinned models leave too little room.
        """
        if claim.need.total_bytes > self._budget_bytes:
            raise ModelTooLarge(
                f"the model needs {format_bytes(claim.need.total_bytes)} of memory, and models may take "
                f"{format_bytes(self._budget_bytes)}: {claim.need.told}",
                where=claim.name,
                hint="use a smaller variant, or allow more memory: "
                f"{self._limits.places.raising('memory')}, now {self._told_budget}",
            )
        self._line.append(claim)
        asyncio.get_running_loop().call_later(self._limits.fairness_seconds, self._wake)
        try:
            while not (self._is_first(claim) and self._fits(claim.need, self._places.values())):
                if self._is_first(claim):
                    self._make_room(claim)
                await self._changed.wait()
        finally:
            self._line.remove(claim)
            self._wake()
        need = claim.need
        place = MemoryReservation(
            claim.digest, claim.name, need.total_bytes, self._limits.keep_alive, need.cache_bytes, claim.draft
        )
        self._places[claim.digest] = place
        self._share_out()
        return place

    def bytes_for(self, place: MemoryReservation) -> int:
        """The part of the budget that no other place takes."""
        others = (each.size_bytes for each in self._places.values() if each is not place)
        return max(0, self._budget_bytes - sum(others))

    def fill(self, place: MemoryReservation, runner: Runner) -> None:
        """Put a loaded model into its place, which is given back when the process ends for any reason."""
        place.runner = runner
        runner.on_end(lambda: self.give_back(place))
        self._share_out()
        self._wake()  # a waiting model may want it unloaded

    def give_back(self, place: MemoryReservation) -> None:
        """Free a place whose model has ended or was never loaded."""
        place.leaving = True
        place.stay()
        if self._places.get(place.digest) is place:
            del self._places[place.digest]
            self._share_out()
        self._wake()

    def rest(self, place: MemoryReservation) -> None:
        """Note that no request uses a model now: it is unloaded, or its keep-alive starts."""
        seconds = None if place.pinned else place.keep_alive.seconds
        if place.leaving:
            self._end(place)
        elif seconds == 0:
            self.leave(place)
        elif seconds is not None:
            place.expires = asyncio.get_running_loop().call_later(seconds, self.leave, place)
        self._wake()

    def leave(self, place: MemoryReservation) -> None:
        """Have a model accept no new requests, and unload it after its last one."""
        if not place.leaving:
            place.leaving = True
            place.stay()
            if not place.users:
                self._end(place)

    async def clear(self) -> bool:
        """Unload all models that may be unloaded, and wait until they are; returns False if there are none."""
        going = [place for place in self._places.values() if place.may_go]
        for place in going:
            self.leave(place)
        for place in going:
            await self.gone(place)
        return bool(going)

    async def gone(self, place: MemoryReservation) -> None:
        """Wait until the process of a model has ended."""
        while self._places.get(place.digest) is place:
            await self._changed.wait()

    async def close(self) -> None:
        """Stop all models, busy or not."""
        for place in self.loaded:
            place.leaving = True
            place.stay()
            self._end(place)
        await asyncio.gather(*self._endings)

    def _share_out(self) -> None:
        share_out(self._budget_bytes, self._places.values())

    def _is_first(self, claim: ReservationRequest) -> bool:
        """Whether a claim is next. Claims whose model is still being unloaded are skipped."""
        return claim is next((each for each in self._line if each.digest not in self._places), None)

    def _make_room(self, claim: ReservationRequest) -> None:
        """Unload as many models as necessary, of those that may be unloaded yet."""
        is_old = time.monotonic() - claim.since >= self._limits.fairness_seconds
        while not self._fits(claim.need, staying := [each for each in self._places.values() if not each.leaving]):
            candidates = [place for place in staying if place.may_go and not place.users]
            if not candidates and is_old:
                candidates = [place for place in staying if place.may_go]
            if candidates:
                self.leave(min(candidates, key=lambda place: place.last_used))
                continue
            if all(place.pinned for place in staying):
                raise self._no_room(claim, staying)
            return

    def _no_room(self, claim: ReservationRequest, staying: Sequence[MemoryReservation]) -> NoRoom:
        """The error for models that stay: they take every place, or too much of the memory."""
        limits, places = self._limits, self._limits.places
        if len(staying) >= limits.max_loaded_models:
            return NoRoom(
                "every place for a model is taken by a pinned model",
                where=claim.name,
                hint=f"pin fewer models, or allow more of them: {places.raising('max_loaded_models')}, "
                f"now {limits.max_loaded_models}",
            )
        taken = sorted(staying, key=lambda place: -place.size_bytes)
        named = [f"{place.name} {format_bytes(place.size_bytes)}" for place in taken[:_MOST_NAMED]]
        more = [f"{len(taken) - _MOST_NAMED} more"] if len(taken) > _MOST_NAMED else []
        return NoRoom(
            f"the model needs {format_bytes(claim.need.total_bytes)} of memory, and of the "
            f"{format_bytes(self._budget_bytes)} that models may take, pinned ones take "
            f"{format_bytes(sum(place.size_bytes for place in taken))}: {', '.join(named + more)}",
            where=claim.name,
            hint=f"pin fewer models, or allow more memory: {places.raising('memory')}, now {self._told_budget}",
        )

    def _fits(self, need: MemoryNeed, beside: Iterable[MemoryReservation]) -> bool:
        sizes = [place.size_bytes for place in beside]
        return len(sizes) < self._limits.max_loaded_models and sum(sizes) + need.total_bytes <= self._budget_bytes

    def _end(self, place: MemoryReservation) -> None:
        if place.runner is not None:
            task = asyncio.create_task(place.runner.stop())
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    def _wake(self) -> None:
        """Wake all that wait, to check again."""
        self._changed.set()
        self._changed = asyncio.Event()
