"""What a small change of a recipe costs: another chat template, and other bits for one layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, side_by_side
from benchmarks.random_model import TEMPLATE
from benchmarks.workplace import Recipe, fresh_home, locked_recipe

_LAYERS = 24
_BLOCK_STEPS = ("quantize", "convert")


def measure(runs: int) -> Iterator[Finding]:
    """Wall time with another template as a part of the cold build, and how many blocks ran for either change."""
    with locked_recipe(_LAYERS, quantization="int4") as recipe, fresh_home() as home:
        home.create(recipe)
        versions = count()

        def with_other_template() -> Cost:
            text = f"{{# version {next(versions)} #}}{TEMPLATE}"
            recipe.write(quantization="int4", prompt_template={"inline": text})
            return home.create(recipe)

        changed, cold = side_by_side(runs, with_other_template, lambda: _cold(recipe))
        seconds = middle(changed, lambda cost: cost.wall_seconds), middle(cold, lambda cost: cost.wall_seconds)
        yield Finding("another chat template: wall", "s", seconds[0], 0.05, seconds[1], "cold create")
        with_other_template()
        yield Finding("another chat template: blocks that ran", "actions", len(home.ran(*_BLOCK_STEPS)), 0)
        recipe.write(quantization={"bits": 4, "overrides": {"model.layers.3.*": "int8"}})
        home.create(recipe)
        yield Finding("other bits for one layer: blocks that ran", "actions", len(home.ran(*_BLOCK_STEPS)), 1)


def _cold(recipe: Recipe) -> Cost:
    with fresh_home() as home:
        return home.create(recipe)
