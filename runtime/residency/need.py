"""How much memory an artifact will take when it is loaded, told before it is. What there is: `runtime.model.memory`."""

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
"""A runner beside weights and caches, with tokenizer and libraries: 70 MB of a tiny model, 150 MB of one with a large
vocabulary."""
_ALLOWED_TOKENS = 8192
"""Room for the caches of that many tokens is always counted in; the engine keeps to its own budget."""


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one model."""

    weights_bytes: int
    """As stored; held expanded they take more, where there is more."""
    cache_bytes: int
    """For a context that is always counted in."""

    @property
    def total_bytes(self) -> int:
        """The least with which it can be loaded."""
        return self.weights_bytes + self.working_bytes

    @property
    def working_bytes(self) -> int:
        """The process, and its caches."""
        return PROCESS_BYTES + self.cache_bytes

    @property
    def told(self) -> str:
        """What it is made of, for people."""
        weights, context = format_bytes(self.weights_bytes), format_bytes(self.cache_bytes)
        return f"weights as stored {weights}, context {context}, process {format_bytes(PROCESS_BYTES)}"

    @classmethod
    def of(cls, store: Store, *digests: Digest) -> Need:
        """What artifacts need that are held by one process: a model, and perhaps its draft.

        Raises:
            BlobMissing, BlobCorrupt, InvalidManifest, BrokenFacts: one cannot be read.
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
    """What weights come to as float32, the form in which a CPU holds them where memory allows; about, from the count of
    parameters. None where they are held as stored, as on GPUs, or where nobody counted.
    """
    if _has_gpu():
        return None
    count = parameter_count(str(artifact.config.get("config", {}).get("paramSize") or ""))
    return None if count is None else 4 * count


def _has_gpu() -> bool:
    """Whether MLX was installed for one; to ask MLX itself would take longer than all else."""
    return sys.platform == "darwin" or any(each.name.startswith("mlx-cuda") for each in distributions())


def _cache_bytes(facts: ModelFacts) -> int:
    """Facts mostly count two bytes a number; on a CPU caches are float32."""
    widening = 1 if facts.compute_dtype == "float32" else 2
    return widening * min(facts.context_length or _ALLOWED_TOKENS, _ALLOWED_TOKENS) * (facts.kv_bytes_per_token or 0)
