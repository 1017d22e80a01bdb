"""The weights and the engine of a model folder and of its draft model, each created when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loading import on_own_thread
from mlxbuild.runtime.model.architecture import is_body, is_encoder
from mlxbuild.runtime.model.load import Weights, load_weights, weights_bytes
from mlxbuild.runtime.model.tokenizer import Tokenizer


class ModelExecutor:
    """The weights and the engine of one model. Thread-safe."""

    def __init__(
        self, folder: Path, limits: Limits, memory_bytes: int | None = None, draft: ModelExecutor | None = None
    ) -> None:
        """`memory_bytes` is what model, draft and caches may take together (default: what the machine has left)."""
        self._folder = folder
        self._limits = limits
        self._memory_bytes = memory_bytes
        self._draft = draft
        self._lock = threading.RLock()
        self._weights: Weights | None = None
        self._engine: Engine | None = None
        self.on_batching: Callable[[Batching], None] | None = None
        """Called with the result as soon as it is known which requests can be computed together."""

    @property
    def weights(self) -> Weights:
        """The loaded weights. Memory is left for the draft model, which is loaded with the engine.

        Raises:
            UnsupportedArchitecture, WeightsUnreadable, OutOfMemory: as `load_weights`.
            EngineEnded: the process ends.
        """
        return self._within(_less(self._memory_bytes, 0 if self._draft is None else weights_bytes(self._draft._folder)))

    def engine(self, tokenizer: Tokenizer) -> Engine:
        """The engine that computes all answers.

        Raises:
            UnsupportedArchitecture, WeightsUnreadable, OutOfMemory: as `load_weights`.
            NeedsMetal, NotComputable: mlx-lm's code for the model does not run here.
            EngineEnded: the process ends.
        """
        with self._lock:
            if self._engine is None:
                weights, draft = self.weights, None
                left = _less(self._memory_bytes, weights.holding.size_bytes)
                if self._draft is not None:
                    drafting = self._draft._within(left)
                    draft, left = drafting.model, _less(left, drafting.holding.size_bytes)
                writes = not (is_encoder(weights.config) or is_body(weights.config))
                engine = Engine(
                    weights.model,
                    tokenizer,
                    self._limits.resolved(left),
                    draft=draft,
                    batching=None if writes else EVERYTHING,
                )
                batching = engine.batching  # raises now if the model cannot be computed
                if writes and self.on_batching is not None:
                    self.on_batching(batching)
                self._engine = engine
            return self._engine

    def close(self) -> None:
        """Fail the requests in progress, and release everything but the draft model."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
            self._engine = self._weights = None

    def _within(self, memory_bytes: int | None) -> Weights:
        with self._lock:
            if self._weights is None:
                self._weights = on_own_thread(
                    lambda checkpoint: load_weights(self._folder, memory_bytes=memory_bytes, checkpoint=checkpoint)
                )
            return self._weights


def _less(memory_bytes: int | None, taken_bytes: int) -> int | None:
    return None if memory_bytes is None else max(0, memory_bytes - taken_bytes)
