"""What an engine has done and is doing, as plain figures."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.engine.core.prefix_cache import PrefixFigures


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts are since the engine's start."""

    running: int = 0
    """Requests whose prompts are being read or whose answers are being written."""
    waiting: int = 0
    """Requests that are still to begin."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    """How many of them were in the prefix cache."""
    answer_tokens: int = 0
    drafted_tokens: int = 0
    """Tokens that a draft proposed."""
    accepted_tokens: int = 0
    """Those of them that the model took."""
    iterations: int = 0
    tick_seconds: float = 0.0
    """What the last iteration took."""
    working_since: float | None = None
    """When the piece of work began that the engine is at, by `time.monotonic()`; None while it waits for some."""
    got_on_at: float = 0.0
    """When something was last read, written or computed for any request, or one ended, by `time.monotonic()`."""
    postponed: int = 0
    """How often an answer had to wait in its middle, for memory."""
    failures: int = 0
    """Ticks that failed."""
    cache_bytes: int = 0
    """What the KV caches of running requests take, by prediction."""
    is_compiled: bool = False
    """Whether answers that are computed alone take compiled steps."""
    prefixes: PrefixFigures = field(default_factory=lambda: PrefixFigures(0, 0, 0, 0, 0))
