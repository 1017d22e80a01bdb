"""Estimates the memory that an artifact needs on this machine before it is loaded. `ps` shows that of loaded ones."""

from __future__ import annotations

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.memory_need import PROCESS_BYTES, MemoryNeed, held_bytes


def expected_need(store: Store, digest: Digest) -> MemoryNeed | None:
    """The estimated memory; None for an artifact that cannot be run as it is."""
    try:
        return MemoryNeed.of(store, digest)
    except MlxbuildError:
        return None


def memory_content(artifact: Artifact, need: MemoryNeed | None) -> dict[str, object] | None:
    """The estimate in bytes, for JSON."""
    if need is None:
        return None
    held = held_bytes(artifact)
    return {
        "weights": need.weights_bytes if held is None else held,
        "held_as": "stored" if held is None else "float32",
        "context": need.cache_bytes,
        "process": PROCESS_BYTES,
    }


def memory_told(artifact: Artifact, need: MemoryNeed | None) -> str | None:
    """The estimate as one phrase."""
    if need is None:
        return None
    held = held_bytes(artifact)
    weights = format_bytes(need.weights_bytes if held is None else held)
    form = "" if held is None else " (held as float32 on a CPU that has room for it)"
    return f"weights {weights}{form}, context {format_bytes(need.cache_bytes)}, process {format_bytes(PROCESS_BYTES)}"
