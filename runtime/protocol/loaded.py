"""What is told of a model once it is in memory, and while it works. Answers to requests live in `events`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """The form in which loaded weights are held."""

    device: str
    """`cpu` or `gpu`."""
    dtype: str
    """Of the weights that are not quantized."""
    dequantized: bool
    """Whether quantized weights were expanded."""
    size_bytes: int
    reason: str
    """Why this form, for people."""
    blas: str | None = None
    """What multiplies matrices on a CPU; None on other devices, which bring their own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to answer."""

    facts: str
    """Those of `runtime.model.facts`, as JSON."""
    holding: Holding
    context_length: int
    """In tokens."""
    capabilities: tuple[str, ...]
    """In Ollama's words; see `ModelFacts.capabilities`."""
    draft: Holding | None = None
    """Of the model that drafts for it, where there is one."""
    kv_bits: int | None = None
    """In how many bits keys and values are kept where a request says nothing; None as they are."""
    batched: str = "prompts and answers"
    """What of several requests is computed together; else only `answers`, or `nothing`."""

    @property
    def size_bytes(self) -> int:
        """Of all weights."""
        return self.holding.size_bytes + (0 if self.draft is None else self.draft.size_bytes)


@dataclass(frozen=True, slots=True)
class Vitals:
    """A sign of life, with what has been done so far. Counts are since the start."""

    working_seconds: float = 0.0
    """How long the engine has been at one piece of work: a load, or an iteration. 0 when it waits for some."""
    effort: int = 0
    """Grows with the memory and the processor time that the process takes: one that is not stuck shows effort."""
    standstill_seconds: float = 0.0
    """How long nothing was read, written or computed, though a request waits, or a piece of work lasts, as long."""
    requests_running: int = 0
    requests_waiting: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    answer_tokens: int = 0
    drafted_tokens: int = 0
    """That a draft proposed."""
    accepted_tokens: int = 0
    """Those of them that the model took."""
    memory_bytes: int = 0
    """What MLX holds: weights, caches and what is being computed."""
    cache_bytes: int = 0
    """What the KV caches of running requests take, by prediction."""
    prefix_bytes: int = 0
    """What the prefix cache holds."""
    prefix_hits: int = 0
    prefix_misses: int = 0
    iterations: int = 0
    tick_seconds: float = 0.0
    """The last iteration of the engine."""
    postponed: int = 0
    """How often an answer had to wait in its middle, for memory."""
    failures: int = 0
    """Ticks that failed, with all requests that were running."""
    is_compiled: bool = False
    """Whether answers that are computed alone take compiled steps."""
