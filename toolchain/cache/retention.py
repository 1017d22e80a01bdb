"""Decides what of the cache a garbage collection keeps: results that are cheap to keep and expensive to recompute.

Small results (facts of blocks, templates, gate results) are kept while they were used recently, so that a build of
whatever is still tagged stays fully cached. Large untagged results are kept newest first, within a budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.gc import SoftRoot
from mlxbuild.toolchain.cache.traces import Trace

SMALL_BYTES = 1_000_000
KEPT_DAYS = 90


@dataclass(frozen=True, slots=True)
class Retention:
    """What a garbage collection keeps, and which traces it may remove."""

    roots: tuple[Digest, ...]
    soft_roots: tuple[SoftRoot, ...]
    forgotten: tuple[Digest, ...]
    """Keys of traces that have not been used for so long that they may be removed."""


def retention(traces: Iterable[tuple[Trace, float]], now: float | None = None) -> Retention:
    """Decide by size and time of last use (seconds since the epoch) which results to keep.

    The outputs of `pack` are not roots: a manifest would keep all of its layers alive, and tagged ones are kept anyway.
    """
    oldest = (time.time() if now is None else now) - KEPT_DAYS * 86400
    roots: list[Digest] = []
    soft: list[SoftRoot] = []
    forgotten: list[Digest] = []
    for trace, used in traces:
        if used < oldest:
            forgotten.append(trace.key)
        elif trace.record.step != "pack":
            for blob in trace.outputs.values():
                if blob.size_bytes <= SMALL_BYTES:
                    roots.append(blob.digest)
                else:
                    soft.append(SoftRoot(blob.digest, used))
    return Retention(tuple(roots), tuple(soft), tuple(forgotten))
