"""What is kept of each model in memory, and what of it is told. Which ones there are: `residency`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.trust.policy import Stamp
from mlxbuild.runtime.protocol.loaded import Holding
from mlxbuild.runtime.residency.drafts import Draft
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.runner.client import Runner

Admission = tuple[str, Stamp]
"""A name, and the trust policy under which an artifact may be run by it."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory."""

    name: str
    """The one it was loaded by."""
    digest: Digest
    size_bytes: int
    """Of its weights as they are held, its caches and its process, with those of a draft."""
    weights_bytes: int
    cache_bytes: int
    """What is counted for a context."""
    expires_at: datetime | None
    """When it goes if nothing more is asked of it; None is never."""
    context_length: int
    holding: Holding
    requests: int
    """That are under way."""
    runner: Runner
    """For its statistics."""
    draft: Draft | None
    """What drafts for it; its memory is counted in."""
    kv_bits: int | None
    """In how many bits keys and values are kept where a request says nothing."""
    batched: str
    """See `Loaded.batched`."""


@dataclass(eq=False)
class Place:
    """The room that one model takes, from before it is loaded until its process has ended."""

    digest: Digest
    name: str
    size_bytes: int
    keep_alive: KeepAlive
    cache_bytes: int = 0
    """For caches, of that size."""
    draft: Draft | None = None
    admitted: set[Admission] = field(default_factory=set)
    """Names under which it may be used."""
    runner: Runner | None = None
    """None while it is loaded."""
    users: int = 0
    pinned: bool = False
    leaving: bool = False
    """Takes no new requests, and goes after the last one."""
    last_used: float = 0.0
    expires: asyncio.TimerHandle | None = None

    @property
    def may_go(self) -> bool:
        """Whether it could make room for another."""
        return self.runner is not None and not self.pinned and not self.leaving

    def is_admitted(self, policy: Stamp) -> bool:
        """Whether it may be used under any name by a policy."""
        return any(stamp == policy for _, stamp in self.admitted)

    def use(self, users: int = 1) -> None:
        """Some more requests have it; it does not wait to go any more."""
        self.users += users
        self.last_used = time.monotonic()
        self.stay()

    def leave_alone(self) -> None:
        """One request less has it."""
        self.users -= 1
        self.last_used = time.monotonic()

    def stay(self) -> None:
        """Do not go when the time has come."""
        if self.expires is not None:
            self.expires.cancel()
            self.expires = None

    def told(self) -> Resident:
        """As others see it.

        Raises:
            RuntimeError: it is still being loaded.
        """
        if self.runner is None:
            raise RuntimeError("the model is being loaded")
        seconds = None if self.pinned else self.keep_alive.seconds
        if seconds is not None and self.expires is not None:
            seconds = max(0.0, self.expires.when() - asyncio.get_running_loop().time())
        expires_at = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        loaded = self.runner.loaded
        return Resident(
            self.name,
            self.digest,
            self.size_bytes,
            loaded.size_bytes,
            self.cache_bytes,
            expires_at,
            loaded.context_length,
            loaded.holding,
            self.users,
            self.runner,
            self.draft,
            loaded.kv_bits,
            loaded.batched,
        )
