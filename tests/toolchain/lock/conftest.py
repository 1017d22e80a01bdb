"""Recipes on disk, and tiny sources for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.load import load
from mlxbuild.toolchain.spec.recipe import Recipe
from tests.toolchain.lock.tiny_sources import WriteRecipe, tiny_weights


@pytest.fixture
def tiny_model() -> dict[str, bytes]:
    """A model in two shards, as files by path."""
    return {
        "config.json": b'{"model_type": "llama"}',
        "model-00001-of-00002.safetensors": tiny_weights("embed", "layers.0.w"),
        "model-00002-of-00002.safetensors": tiny_weights("layers.1.w", "head"),
        "tokenizer.json": b"{}",
        "README.md": b"# tiny",
        "modeling_tiny.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
    }


@pytest.fixture
def model_folder(tmp_path: Path, tiny_model: dict[str, bytes]) -> Path:
    """That model as a folder `model` beside the recipe."""
    folder = tmp_path / "recipe" / "model"
    folder.mkdir(parents=True)
    for path, data in tiny_model.items():
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture
def write_recipe(tmp_path: Path) -> WriteRecipe:
    """Writes `recipe/ModelSpec.yaml` with the lines that name its sources, and reads it."""

    def write(sources: str) -> Recipe:
        path = tmp_path / "recipe" / "ModelSpec.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'name: tiny\nversion: "1.0"\n{sources}\n')
        return load(path)

    return write
