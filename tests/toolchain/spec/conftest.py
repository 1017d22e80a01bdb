"""Recipes written on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.load import load
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import ResolvedSpec

HEAD = 'name: hello\nversion: "1.0"\n'
HUB_BASE = "base: {hf_repo: Qwen/Qwen3-0.6B}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Loads a recipe from the lines that follow name, version and, unless told otherwise, a base."""

    def write(lines: str = "", base: str = HUB_BASE, name: str = "ModelSpec.yaml") -> Recipe:
        path = tmp_path / name
        path.write_text(HEAD + base + lines, encoding="utf-8")
        return load(path)

    return write


@pytest.fixture
def only(recipe: Callable[..., Recipe]) -> Callable[..., ResolvedSpec]:
    """The one variant of such a recipe."""

    def write(lines: str = "", base: str = HUB_BASE) -> ResolvedSpec:
        (spec,) = recipe(lines, base).variants()
        return spec

    return write
