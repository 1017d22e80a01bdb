"""How many models there may be at once, and how much they may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.residency.keep_alive import FIVE_MINUTES, KeepAlive
from mlxbuild.runtime.residency.setting_places import SettingPlaces
from mlxbuild.runtime.runner.client import Patience


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one server."""

    max_loaded_models: int = 3
    memory_bytes: int | None = None
    """For all models together; None takes four fifths of what the machine has left when the server begins."""
    max_queue: int = 512
    """Requests that wait for a model to be loaded; further ones are refused."""
    keep_alive: KeepAlive = FIVE_MINUTES
    """For requests that name none."""
    rows: int | None = None
    """How many requests of one model are computed at once, at most; None leaves that to the engine."""
    kv_bits: int | None = None
    """In how many bits keys and values are kept where a request says nothing and the model's can be; None as they are.
    """
    fairness_seconds: float = 5.0
    """How long a model that waits for room lets busy ones go on taking new requests."""
    patience: Patience = field(default_factory=Patience)
    places: SettingPlaces = field(default_factory=SettingPlaces)
    """Where these bounds were written."""
