"""Weights that mlx-lm quantizes, or would, and cannot load again: no tag names them, and the error says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from tests.mlxbuild.conftest import CommandLine
from tests.sweep.architectures import random_model, tiny_config


def _replace_model(recipe_folder: Path, name: str, **changes: Any) -> None:
    """Have the recipe's model be another one, with the same tokenizer."""
    model = recipe_folder / "model"
    for file in model.glob("*.safetensors*"):
        file.unlink()
    config = {**tiny_config(name), **changes}
    weights: Any = dict(tree_flatten(random_model(config).parameters()))
    mx.save_safetensors(str(model / "model.safetensors"), weights, metadata={"format": "mlx"})
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("afm7", {}, "got an unexpected keyword argument 'mode'"),
        ("seed_oss", {"tie_word_embeddings": True}, "[matmul] Last dimension"),
    ],
)
def test_what_cannot_be_loaded_in_int4_gets_no_tag(
    mlxbuild: CommandLine, recipe_folder: Path, name: str, changes: dict[str, Any], said: str
) -> None:
    _replace_model(recipe_folder, name, **changes)
    done = mlxbuild("create", "-k")
    assert done.code == 3
    assert f"error[weights-unusable]: mlx-lm's code for `{name}` does not take these weights" in done.err
    assert said in done.err
    assert "hint: another `quantization` may do" in done.err
    assert "tiny:none@1.0" in done.out
    assert "int4" not in mlxbuild("list").out


def test_modules_that_are_left_as_they_are_mend_it(mlxbuild: CommandLine, recipe_folder: Path) -> None:
    _replace_model(recipe_folder, "afm7")
    recipe = recipe_folder / "ModelSpec.yaml"
    mended = '[{mode: affine, bits: 4, group_size: 64, label: mostly4, overrides: {"*.qkv_proj": none}}, none]'
    recipe.write_text(recipe.read_text().replace("[int4, none]", mended))
    done = mlxbuild("create")
    assert done.code == 0, done.err
    assert mlxbuild("run", "tiny:mostly4", "Hello", "--max-tokens", "2").code == 0
