"""How fast an artifact is verified beside the sha256 of bytes in memory on all cores, both in this process."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.finding import Finding
from benchmarks.measurement import middle, side_by_side
from benchmarks.workplace import fresh_home, locked_recipe
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store

_LAYERS = 24
_PIECE_BYTES = 1 << 20
_PIECES_PER_CORE = 300


def measure(runs: int) -> Iterator[Finding]:
    """Bytes a second of the library function and of the whole command."""
    with locked_recipe(_LAYERS, quantization="none") as recipe, fresh_home() as home:
        digest = Digest.parse(home.create(recipe).stdout.split()[-1])
        store = Store.open(Home(home.folder))
        ours, peers = side_by_side(runs, lambda: _verified(store, digest), _hashed)
        peer = middle(peers, float)
        name = "sha256 on all cores"
        yield Finding("verify as a function: speed", "B/s", middle(ours, float), 0.8, peer, name, at_least=True)
        size = home.artifact_bytes("bench")
        commands, peers = side_by_side(runs, lambda: size / home.run("verify", "bench").wall_seconds, _hashed)
        speed = middle(commands, float)
        yield Finding("verify as a command: speed", "B/s", speed, None, middle(peers, float), name)


def _verified(store: Store, digest: Digest) -> float:
    """Bytes a second of one verification."""
    begun = time.perf_counter()
    report = verify(store, digest)
    seconds = time.perf_counter() - begun
    if not report.ok:
        raise RuntimeError(f"{digest} does not verify: {report.problems}")
    return report.checked_bytes / seconds


def _hashed() -> float:
    """Bytes a second that all cores hash together, each the same megabyte again and again."""
    cores = os.cpu_count() or 1
    begun = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(_hash, range(cores)))
    return cores * _PIECES_PER_CORE * _PIECE_BYTES / (time.perf_counter() - begun)


def _hash(core: int) -> str:
    piece = bytes([core]) * _PIECE_BYTES
    hasher = hashlib.sha256()
    for _ in range(_PIECES_PER_CORE):
        hasher.update(piece)
    return hasher.hexdigest()
