"""What the code of an architecture allows: weights that it cannot load again get no tag, what it batches is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mlxbuild.conftest import CommandLine
from tests.sweep.architectures import tiny_config, write_weights


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
    write_weights(recipe_folder / "model", tiny_config(name) | changes)
    done = mlxbuild("create", "-k")
    assert done.code == 3
    assert f"error[weights-unusable]: mlx-lm's code for `{name}` does not take these weights" in done.err
    assert said in done.err
    assert "hint: try another `quantization`" in done.err
    assert "tiny:none@1.0" in done.out
    assert "int4" not in mlxbuild("list").out


def test_modules_that_are_left_as_they_are_mend_it(mlxbuild: CommandLine, recipe_folder: Path) -> None:
    write_weights(recipe_folder / "model", tiny_config("afm7"))
    recipe = recipe_folder / "ModelSpec.yaml"
    mended = '[{mode: affine, bits: 4, group_size: 64, label: mostly4, overrides: {"*.qkv_proj": none}}, none]'
    recipe.write_text(recipe.read_text().replace("[int4, none]", mended))
    done = mlxbuild("create")
    assert done.code == 0, done.err
    assert mlxbuild("run", "tiny:mostly4", "Hello", "--max-tokens", "2").code == 0


def test_what_a_model_batches_is_shown_when_it_was_loaded(mlxbuild: CommandLine, recipe_folder: Path) -> None:
    write_weights(recipe_folder / "model", tiny_config("mamba"))
    assert mlxbuild("create").code == 0
    assert "batches" not in mlxbuild("show", "tiny:none").out
    assert mlxbuild("run", "tiny:none", "Hello", "--max-tokens", "2").code == 0
    assert "  batches: answers\n" in mlxbuild("show", "tiny:none").out
    assert json.loads(mlxbuild("show", "tiny:none", "--json").out)["batched"] == "answers"
