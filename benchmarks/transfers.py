"""Push and pull at a registry on this machine, beside oras-py and skopeo; what moves after small changes, and what a
killed pull keeps; a build that a remote cache serves, beside a pull."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, run, side_by_side
from benchmarks.random_model import TEMPLATE
from benchmarks.relay import Relay
from benchmarks.workplace import Home, Recipe, fresh_folder, fresh_home, locked_recipe
from tests.registries import docker_registry

_LAYERS = 24
_TWO_LAYERS = "model.layers.[34].*"
_ORAS_PUSH = """
import sys, oras.client
oras.client.OrasClient(insecure=True).push(target=sys.argv[1], files=sys.argv[2:], disable_path_validation=True)
"""


def measure(runs: int) -> Iterator[Finding]:
    """Time and memory of whole transfers, and bytes that move after changes."""
    with (
        locked_recipe(_LAYERS, quantization="none") as recipe,
        fresh_home() as home,
        fresh_folder() as folder,
        docker_registry(folder / "registry") as registry,
    ):
        home.create(recipe)
        repositories = (f"{registry.host}/bench/{number}" for number in count())
        yield from _whole(home, repositories, folder, runs)
        yield _killed(home, registry.host, next(repositories))
        yield _from_cache(home, recipe, repositories, runs)
        yield from _changes(home, recipe, next(repositories))


def _whole(home: Home, repositories: Iterator[str], folder: Path, runs: int) -> Iterator[Finding]:
    files = [home.folder / "store/blobs/sha256" / name for name in _files(home)]
    pushes, peers = side_by_side(
        runs,
        lambda: home.run("push", "bench", next(repositories)),
        lambda: run([sys.executable, "-c", _ORAS_PUSH, f"{next(repositories)}:latest", *files]),
    )
    yield _finding("push: wall", pushes, 0.5, peers, "oras-py")
    yield Finding("push: peak memory", "B", max(cost.peak_bytes for cost in pushes), 150e6)
    there = next(repositories)
    home.run("push", "bench", there)
    again, starts = side_by_side(runs, lambda: home.run("push", "bench", there), lambda: home.run("version"))
    seconds = middle(again, _wall) - middle(starts, _wall)
    yield Finding("push with nothing new, after start-up: wall", "s", seconds, 0.3)
    pulls, peers = side_by_side(runs, lambda: _pull(there), lambda: _skopeo(there, folder / "layout"))
    yield _finding("pull, verified: wall", pulls, 1.0, peers, "skopeo into a layout")
    yield Finding("pull: peak memory", "B", max(cost.peak_bytes for cost in pulls), 150e6)


def _killed(home: Home, host: str, there: str) -> Finding:
    """A pull is killed when half of the artifact came, and done again."""
    home.run("push", "bench", there)
    whole = home.artifact_bytes("bench")
    with fresh_home() as second, Relay(host) as relay:
        name = f"{there.replace(host, relay.host)}:latest"
        process = second.start("pull", name)
        while relay.passed_bytes < whole / 2:
            time.sleep(0.005)
        process.kill()
        process.wait()
        fetched = relay.passed_bytes
        moved = json.loads(second.run("pull", name, "--json").stdout)["moved_bytes"]
    return Finding("pull killed at half: kept", "B", whole - moved, 0.9, fetched, "what had come", at_least=True)


def _from_cache(home: Home, recipe: Recipe, repositories: Iterator[str], runs: int) -> Finding:
    """Everything is in the cache, and nothing in the home."""
    cache, there = next(repositories), next(repositories)
    home.run("push", "bench", there)
    with fresh_home() as first:
        first.create(recipe, "--cache-to", cache)

    def build() -> Cost:
        with fresh_home() as second:
            return second.create(recipe, "--frozen", "--cache-from", cache, "--expect-cached")

    builds, pulls = side_by_side(runs, build, lambda: _pull(there))
    return _finding("create, all from a remote cache: wall", builds, 1.2, pulls, "pull")


def _changes(home: Home, recipe: Recipe, there: str) -> Iterator[Finding]:
    with fresh_home() as second:

        def moved(**keys: object) -> tuple[int, int]:
            recipe.write(**keys)
            home.create(recipe)
            (pushed,) = json.loads(home.run("push", "bench", there, "--json").stdout)
            pulled = json.loads(second.run("pull", f"{there}:latest", "--json").stdout)
            return pushed["moved_bytes"], pulled["moved_bytes"]

        moved(quantization="none")
        up, down = moved(quantization="none", prompt_template={"inline": f"{{# changed #}}{TEMPLATE}"})
        yield Finding("another chat template: bytes pushed", "B", up, 64 * 1024)
        yield Finding("another chat template: bytes pulled", "B", down, 64 * 1024)
        moved(quantization={"bits": 4, "overrides": {_TWO_LAYERS: "int8"}})
        up, down = moved(quantization="int4")
        whole = home.artifact_bytes("bench")
        yield Finding("other bits for two of 24 blocks: bytes pushed", "B", up, 0.1, whole, "all")
        yield Finding("other bits for two of 24 blocks: bytes pulled", "B", down, 0.1, whole, "all")


def _files(home: Home) -> list[str]:
    """All that we push, so that oras-py pushes the same."""
    files = json.loads(home.run("show", "bench", "--json").stdout)["files"]
    return [file["digest"].removeprefix("sha256:") for file in files]


def _pull(name: str) -> Cost:
    with fresh_home() as home:
        return home.run("pull", f"{name}:latest")


def _skopeo(name: str, layout: Path) -> Cost:
    try:
        source = f"docker://{name}:latest"
        return run(["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source, f"oci:{layout}:one"])
    finally:
        shutil.rmtree(layout, ignore_errors=True)


def _finding(what: str, ours: list[Cost], bound: float, peers: list[Cost], name: str) -> Finding:
    return Finding(what, "s", middle(ours, _wall), bound, middle(peers, _wall), name)


def _wall(cost: Cost) -> float:
    return cost.wall_seconds
