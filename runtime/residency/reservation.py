"""The state that the server keeps for each loaded model, and the description of it for others."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.trust.policy import Stamp
from mlxbuild.runtime.protocol.loaded import WeightsInMemory
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.runner.client import Runner

Admission = tuple[str, Stamp]
"""A name by which an artifact may be run, with the stamp of the trust policy that allowed it."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A description of a loaded model."""

    name: str
    """The name by which the model was loaded."""
    digest: Digest
    size_bytes: int
    """Memory of the weights as held, the caches and the process, including those of a draft."""
    weights_bytes: int
    cache_bytes: int
    """Memory that is reserved for KV caches."""
    expires_at: datetime | None
    """When the model is unloaded if no further request comes; None means never."""
    context_length: int
    holding: WeightsInMemory
    requests: int
    """The number of running requests."""
    runner: Runner
    """The runner, for its statistics."""
    draft: DraftModel | None
    """The draft model, whose memory is included."""
    kv_bits: int | None
    """The bits per number of the KV cache for requests that do not set them."""
    batched: str
    """See `Loaded.batched`."""


@dataclass(eq=False)
class MemoryReservation:
    """The memory reserved for one model, from before it is loaded until its process has ended."""

    digest: Digest
    name: str
    size_bytes: int
    keep_alive: KeepAlive
    cache_bytes: int = 0
    """The part of `size_bytes` that is reserved for KV caches."""
    draft: DraftModel | None = None
    admitted: set[Admission] = field(default_factory=set)
    """The names by which the model may be used."""
    runner: Runner | None = None
    """None while the model is being loaded."""
    users: int = 0
    pinned: bool = False
    leaving: bool = False
    """Whether the model accepts no new requests and is unloaded after its last one."""
    last_used: float = 0.0
    expires: asyncio.TimerHandle | None = None

    @property
    def may_go(self) -> bool:
        """Whether the model may be unloaded to make room for another."""
        return self.runner is not None and not self.pinned and not self.leaving

    def is_admitted(self, policy: Stamp) -> bool:
        """Whether a policy allows the model under any name."""
        return any(stamp == policy for _, stamp in self.admitted)

    def use(self, users: int = 1) -> None:
        """Count `users` more requests, and cancel the expiry."""
        self.users += users
        self.last_used = time.monotonic()
        self.stay()

    def leave_alone(self) -> None:
        """Count one request less."""
        self.users -= 1
        self.last_used = time.monotonic()

    def stay(self) -> None:
        """Cancel the expiry."""
        if self.expires is not None:
            self.expires.cancel()
            self.expires = None

    def told(self) -> Resident:
        """A description of the model.

        Raises:
            RuntimeError: the model is still being loaded.
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
