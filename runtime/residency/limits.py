"""The limits of a server: how many models may be loaded, how much memory they may use, and how long they stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.residency.keep_alive import FIVE_MINUTES, KeepAlive
from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.runner.client import Timeouts


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server."""

    max_loaded_models: int = 3
    memory_bytes: int | None = None
    """Memory of all models together; None means four fifths of the memory available when the server starts."""
    max_queue: int = 512
    """How many requests may wait for a model to load; further ones are refused."""
    keep_alive: KeepAlive = FIVE_MINUTES
    """The keep-alive of requests that set none."""
    max_sequences: int | None = None
    """The maximum batch size of one model; None leaves it to the engine."""
    kv_bits: int | None = None
    """The default bits per number of the KV cache, for models that support it; None means it is not quantized."""
    fairness_seconds: float = 5.0
    """How long a model that waits for memory lets busy models accept new requests."""
    patience: Timeouts = field(default_factory=Timeouts)
    places: SettingOrigins = field(default_factory=SettingOrigins)
    """Where these limits were set."""
