"""Estimates the memory that an artifact needs before it is loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import distributions

from mlxbuild.registry.artifact.files import FileRole
from mlxbuild.registry.artifact.modelpack import parameter_count
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.files import FACTS_FILE

PROCESS_BYTES = 128 * 1024 * 1024
"""Memory of a runner besides weights and caches, for tokenizer and libraries: 70 MB for a tiny model, 150 MB for one
with a large vocabulary."""
_ALLOWED_TOKENS = 8192
"""The estimate includes KV caches for this many tokens; the engine has a budget of its own."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The memory that one model needs."""

    weights_bytes: int
    """The size of the weights as stored; they are dequantized only where more memory is available."""
    cache_bytes: int
    """The size of the KV caches for the tokens that are always included."""

    @property
    def total_bytes(self) -> int:
        """The least memory with which the model can be loaded."""
        return self.weights_bytes + self.working_bytes

    @property
    def working_bytes(self) -> int:
        """The memory of the process and its caches."""
        return PROCESS_BYTES + self.cache_bytes

    @property
    def told(self) -> str:
        """The parts of the estimate, as text for people."""
        weights, context = format_bytes(self.weights_bytes), format_bytes(self.cache_bytes)
        return f"weights as stored {weights}, context {context}, process {format_bytes(PROCESS_BYTES)}"

    @classmethod
    def of(cls, store: Store, *digests: Digest) -> MemoryNeed:
        """The memory for the artifacts that one process loads: a model, and its draft if there is one.

        Raises:
            BlobMissing, BlobCorrupt, InvalidManifest, BrokenFacts: an artifact cannot be read.
        """
        weights = sum(
            file.blob.size_bytes
            for digest in digests
            for file in Artifact.open(store, digest).files
            if file.role is FileRole.WEIGHT
        )
        return cls(weights, sum(_cache_bytes(facts_of(store, digest)) for digest in digests))


def facts_of(store: Store, digest: Digest) -> ModelFacts:
    """The facts of an artifact.

    Raises:
        BlobMissing, BlobCorrupt, InvalidManifest, BrokenFacts: they cannot be read.
    """
    return ModelFacts.from_json(Artifact.open(store, digest).read(FACTS_FILE))


def held_bytes(artifact: Artifact) -> int | None:
    """The approximate size of the weights as float32, which a CPU uses where memory allows, from the parameter count.

    None where weights stay as stored, as on GPUs, or where the parameter count is unknown.
    """
    if _has_gpu():
        return None
    count = parameter_count(str(artifact.config.get("config", {}).get("paramSize") or ""))
    return None if count is None else 4 * count


def _has_gpu() -> bool:
    """Whether MLX is installed with GPU support; importing MLX to ask it would take much longer."""
    return sys.platform == "darwin" or any(each.name.startswith("mlx-cuda") for each in distributions())


def _cache_bytes(facts: ModelFacts) -> int:
    """The size of the KV caches. Facts mostly count two bytes a number; doubled, as caches are float32 on a CPU."""
    widening = 1 if facts.compute_dtype == "float32" else 2
    return widening * min(facts.context_length or _ALLOWED_TOKENS, _ALLOWED_TOKENS) * (facts.kv_bytes_per_token or 0)
