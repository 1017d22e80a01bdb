"""`mlxbuild plan` over a thousand recipes with their locks: with nothing built, and with all but the packing built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.finding import Finding
from benchmarks.measurement import middle
from benchmarks.random_model import made
from benchmarks.workplace import Home, fresh_folder, fresh_home

_RECIPES = 1000
_LAYERS = 2


def measure(runs: int) -> Iterator[Finding]:
    """Wall time of the whole command."""
    with fresh_folder() as folder, fresh_home() as home, fresh_home() as elsewhere:
        recipes = _write_recipes(folder)
        elsewhere.run("lock", *recipes)
        yield _planned("nothing built", home, recipes, runs)
        home.run("create", "-f", recipes[0])
        yield _planned("weights built", home, recipes, runs)


def _planned(state: str, home: Home, recipes: Sequence[Path], runs: int) -> Finding:
    files: list[str | Path] = list(chain.from_iterable(("-f", recipe) for recipe in recipes))
    costs = [home.run("plan", *files, "--json") for _ in range(runs + 1)][1:]
    actions = len(json.loads(costs[0].stdout)["actions"])
    what = f"plan over {_RECIPES:,} recipes, {actions:,} actions, {state}: wall"
    return Finding(what, "s", middle(costs, lambda cost: cost.wall_seconds), 5.0)


def _write_recipes(folder: Path) -> list[Path]:
    """Recipes of different names over one tiny model, so that they share the work on its weights."""
    model = made(folder / "model", _LAYERS, tiny=True)
    paths = []
    for number in range(_RECIPES):
        path = folder / f"recipe-{number:04d}.yaml"
        recipe = {"name": path.stem, "version": "1.0", "base": {"path": model.name}, "quantization": "int4"}
        path.write_text(json.dumps(recipe) + "\n", encoding="utf-8")
        paths.append(path)
    return paths
