"""What a worker process reports of its model: once when it is loaded, and every second while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.protocol.statistics import EngineStatistics


@dataclass(frozen=True, slots=True)
class WeightsInMemory:
    """The form in which loaded weights are held."""

    device: str
    """`cpu` or `gpu`."""
    dtype: str
    """The dtype of the weights that are not quantized."""
    dequantized: bool
    """Whether quantized weights were dequantized when they were loaded."""
    size_bytes: int
    reason: str
    """Why this form was chosen, as text for people."""
    blas: str | None = None
    """The BLAS library that multiplies matrices on a CPU; None on other devices, which bring their own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to answer."""

    facts: str
    """The `runtime.model.facts.ModelFacts`, as JSON."""
    holding: WeightsInMemory
    context_length: int
    """The context length in tokens."""
    capabilities: tuple[str, ...]
    """The model's capabilities by Ollama's names; see `ModelFacts.capabilities`."""
    draft: WeightsInMemory | None = None
    """The weights of the draft model, where there is one."""
    kv_bits: int | None = None
    """The bits per number of the KV cache for requests that do not set them; None means it is not quantized."""
    batched: str = "prompts and answers"
    """What is batched across requests: `prompts and answers`, only `answers`, or `nothing`."""

    @property
    def size_bytes(self) -> int:
        """The size of all weights, those of a draft model included."""
        return self.holding.size_bytes + (0 if self.draft is None else self.draft.size_bytes)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat with statistics. Counters start when the process starts."""

    working_seconds: float = 0.0
    """How long the current load or iteration has taken; 0 while the engine is idle."""
    effort: int = 0
    """Grows with the processor time and the peak memory of the process, so it stops growing if the process is stuck."""
    standstill_seconds: float = 0.0
    """How long the engine has made no progress, though a request or an iteration has been pending for as long."""
    requests_waiting: int = 0
    """Requests that have not started, those that are still prepared included."""
    memory_bytes: int = 0
    """MLX's active memory: weights, caches and intermediate results."""
    engine: EngineStatistics = field(default_factory=EngineStatistics)
