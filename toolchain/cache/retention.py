"""What of the cache a garbage collection should spare: which results are cheap to keep and dear to lose.

Small results (facts of blocks, templates, gate results) are kept as long as they were of use lately, so that a build
of what still has a name stays fully cached. Large results without a name are kept newest first, within a budget.
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
    """What to spare."""

    roots: tuple[Digest, ...]
    soft_roots: tuple[SoftRoot, ...]
    forgotten: tuple[Digest, ...]
    """Keys of traces that were of no use for so long that they may go."""


def retention(traces: Iterable[tuple[Trace, float]], now: float | None = None) -> Retention:
    """Judge traces by what they hold and when they were last of use (seconds since the epoch).

    A pack's outputs are no roots: a manifest would keep all of its layers, and those with a name are kept by it.
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
