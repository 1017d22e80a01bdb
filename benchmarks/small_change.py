"""What a small change of a recipe costs: another chat template, and other bits for one layer.

Two clocks are read: the build's own, as its log keeps it, and the wall's, which includes the start of Python and the
reading of the recipe. A change has fixed costs, such as importing what renders templates, so the bound is on the
build's own clock at four times the depth; beside a model that is built in half a second they weigh more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, side_by_side
from benchmarks.random_model import TEMPLATE
from benchmarks.workplace import Home, Recipe, fresh_home, locked_recipe

_LAYERS, _FOURFOLD = 24, 96
_BLOCK_STEPS = ("quantize", "convert")


@dataclass(frozen=True, slots=True)
class _Build:
    """One build by both clocks."""

    cost: Cost
    own_seconds: float


def measure(runs: int) -> Iterator[Finding]:
    """Time with another template as a part of the cold build at two depths, and how many blocks ran for a change."""
    for layers in (_LAYERS, _FOURFOLD):
        with locked_recipe(layers, quantization="int4") as recipe, fresh_home() as home:
            yield from _template(recipe, home, layers, runs)
            if layers == _LAYERS:
                yield from _blocks(recipe, home)


def _template(recipe: Recipe, home: Home, layers: int, runs: int) -> Iterator[Finding]:
    _build(recipe, home)
    versions = count()

    def with_other_template() -> _Build:
        text = f"{{# version {next(versions)} #}}{TEMPLATE}"
        recipe.write(quantization="int4", prompt_template={"inline": text})
        return _build(recipe, home)

    changed, cold = side_by_side(runs, with_other_template, lambda: _cold(recipe))
    name = f"another chat template, {layers} layers"
    own = [middle(builds, lambda build: build.own_seconds) for builds in (changed, cold)]
    bound = 0.05 if layers == _FOURFOLD else None
    yield Finding(f"{name}: the build's own clock", "s", own[0], bound, own[1], "cold create")
    wall = [middle(builds, lambda build: build.cost.wall_seconds) for builds in (changed, cold)]
    yield Finding(f"{name}: wall", "s", wall[0], None, wall[1], "cold create")
    with_other_template()
    yield Finding(f"{name}: blocks that ran", "actions", len(home.ran(*_BLOCK_STEPS)), 0)


def _blocks(recipe: Recipe, home: Home) -> Iterator[Finding]:
    recipe.write(quantization={"bits": 4, "overrides": {"model.layers.3.*": "int8"}})
    home.create(recipe)
    yield Finding("other bits for one layer: blocks that ran", "actions", len(home.ran(*_BLOCK_STEPS)), 1)


def _cold(recipe: Recipe) -> _Build:
    with fresh_home() as home:
        return _build(recipe, home)


def _build(recipe: Recipe, home: Home) -> _Build:
    cost = home.create(recipe)
    return _Build(cost, home.last_run()["seconds"])
