"""Counters and the current state of an engine, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrefixCacheStatistics:
    """Size and counters of a prefix cache."""

    entries: int = 0
    size_bytes: int = 0
    hits: int = 0
    misses: int = 0
    evicted: int = 0


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Counters are since the engine's start."""

    running: int = 0
    """Sequences in prefill or decoding."""
    waiting: int = 0
    """Requests that have not started."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    """Prompt tokens that were in the prefix cache."""
    answer_tokens: int = 0
    drafted_tokens: int = 0
    """Tokens that a draft model proposed."""
    accepted_tokens: int = 0
    """Proposed tokens that were accepted."""
    iterations: int = 0
    iteration_seconds: float = 0.0
    """Duration of the last iteration."""
    working_since: float | None = None
    """When the current work started, by `time.monotonic()`; None while the engine is idle."""
    progressed_at: float = 0.0
    """When the last progress was made for any request, by `time.monotonic()`."""
    postponed: int = 0
    """How many times a sequence was preempted for lack of memory."""
    failures: int = 0
    """Iterations that failed, and with them all requests that were running."""
    cache_bytes: int = 0
    """Predicted memory of the KV caches of running sequences."""
    is_compiled: bool = False
    """Whether decode steps of a single sequence are compiled."""
    prefixes: PrefixCacheStatistics = PrefixCacheStatistics()
