"""A cold `mlxbuild create` beside `mlx_lm convert -q`: wall time, peak memory, bytes written.

Cold means an empty home, with the lock there and current. The pages of the model are in memory for both sides. Ours
includes checking the sources against the lock, hashing, the store, the manifest and syncing all of it to the disk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, run, side_by_side
from benchmarks.workplace import OFFLINE, Recipe, fresh_folder, fresh_home, locked_recipe

PEER = "mlx_lm convert"
_BITS = (4, 8)
_LAYERS, _DOUBLE, _FOURFOLD = 24, 48, 96


@dataclass(frozen=True, slots=True)
class _Build:
    """One build of ours with the size of what came out."""

    cost: Cost
    artifact_bytes: int


def measure(runs: int) -> Iterator[Finding]:
    """Wall time, memory and bytes at one depth, memory at twice and wall time at four times the depth."""
    for bits in _BITS:
        with locked_recipe(_LAYERS, quantization=f"int{bits}") as recipe:
            ours, peers = _side_by_side(recipe, bits, runs)
        name = f"cold create int{bits}, {_LAYERS} layers"
        yield from _times(name, ours, peers, 1.0)
        yield Finding(f"{name}: peak memory", "B", _peak(ours), 0.5, middle(peers, _peak_bytes), PEER)
        written = [build.cost.written_bytes for build in ours if build.cost.written_bytes is not None]
        if written:
            size = ours[0].artifact_bytes
            yield Finding(f"{name}: bytes written", "B", middle(written, float), 1.1, size, "artifact")
        with locked_recipe(_DOUBLE, keep=False, quantization=f"int{bits}") as recipe:
            deeper = [_ours(recipe) for _ in range(runs)]
        name = f"cold create int{bits}, {_DOUBLE} layers"
        yield Finding(f"{name}: peak memory", "B", _peak(deeper), 1.1, _peak(ours), f"{_LAYERS} layers")
    for bits in _BITS:
        with locked_recipe(_FOURFOLD, keep=bits != _BITS[-1], quantization=f"int{bits}") as recipe:
            ours, peers = _side_by_side(recipe, bits, runs)
        yield from _times(f"cold create int{bits}, {_FOURFOLD} layers", ours, peers, 0.7)


def _side_by_side(recipe: Recipe, bits: int, runs: int) -> tuple[list[_Build], list[Cost]]:
    return side_by_side(runs, lambda: _ours(recipe), lambda: _peer(recipe, bits))


def _ours(recipe: Recipe) -> _Build:
    with fresh_home() as home:
        return _Build(home.create(recipe), home.artifact_bytes("bench"))


def _peer(recipe: Recipe, bits: int) -> Cost:
    with fresh_folder() as folder:
        convert: list[str | Path] = [
            sys.executable,
            "-m",
            "mlx_lm",
            "convert",
            "--hf-path",
            recipe.model,
            "--mlx-path",
            folder / "out",
        ]
        return run([*convert, "-q", "--q-bits", str(bits), "--q-group-size", "64"], environment=OFFLINE)


def _times(name: str, ours: list[_Build], peers: list[Cost], bound: float) -> Iterator[Finding]:
    seconds = middle(ours, lambda build: build.cost.wall_seconds)
    yield Finding(f"{name}: wall", "s", seconds, bound, middle(peers, lambda cost: cost.wall_seconds), PEER)
    seconds = middle(ours, lambda build: build.cost.cpu_seconds)
    yield Finding(f"{name}: processor time", "s", seconds, None, middle(peers, lambda cost: cost.cpu_seconds), PEER)


def _peak(builds: list[_Build]) -> float:
    return middle(builds, lambda build: build.cost.peak_bytes)


def _peak_bytes(cost: Cost) -> float:
    return cost.peak_bytes
