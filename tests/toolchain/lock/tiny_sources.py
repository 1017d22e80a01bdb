"""Tiny sources for recipes of tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy
from safetensors.numpy import save

from mlxbuild.toolchain.spec.recipe import Recipe

WriteRecipe = Callable[[str], Recipe]
"""From the lines that name a recipe's sources to the recipe."""


def tiny_weights(*names: str, fill: float = 1.0) -> bytes:
    """A safetensors file of small float32 tensors."""
    return bytes(save({name: numpy.full((4, 8), fill, dtype=numpy.float32) for name in names or ("embed",)}))
