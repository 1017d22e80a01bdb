"""The code of mlx-lm that a model runs, found by reading: no import that happens is missing from it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mlxbuild.runtime.model import mlx_lm_code
from mlxbuild.runtime.model.architecture import UnsupportedArchitecture

_PROBE = """
import json, sys
from mlxbuild.runtime.model.mlx_lm_package import submodule
submodule(sys.argv[1])
print(json.dumps([name.removeprefix("mlx_lm.") for name in sys.modules if name.startswith("mlx_lm.")]))
"""


@pytest.mark.parametrize("name", ["llama", "qwen3_next", "gemma3n", "deepseek_v32", "mamba2"])
def test_all_that_an_architecture_imports_is_known(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE, f"models.{name}"], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout)) - {"models"}
    assert f"models.{name}" in loaded
    assert loaded <= mlx_lm_code._closure((f"models.{name}",))


def test_another_architecture_is_other_code() -> None:
    llama, qwen = {"model_type": "llama"}, {"model_type": "qwen3"}
    assert mlx_lm_code.weights_code(llama) == mlx_lm_code.weights_code({"model_type": "mistral"}), "which is llama's"
    assert len({mlx_lm_code.weights_code(llama), mlx_lm_code.model_code(llama), mlx_lm_code.weights_code(qwen)}) == 3
    assert mlx_lm_code.weights_code({"model_type": "bert"}) == "", "encoders are our own"
    with pytest.raises(UnsupportedArchitecture):
        mlx_lm_code.weights_code({"model_type": "no-such"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from .base import x", {"models.base", "models.base.x"}),
        ("    from ..utils import (\n    a,\n    b as c,\n)", {"utils", "utils.a", "utils.b"}),
        ("from . import cache", {"models", "models.cache"}),
        ("import mlx_lm.models.cache as c, json", {"models.cache"}),
        ("from mlx_lm.tuner import lora", {"tuner", "tuner.lora"}),
        ("from mlx.core import array\nimport mlx.nn", set()),
    ],
)
def test_imports_are_read(text: str, found: set[str]) -> None:
    assert set(mlx_lm_code._imported("models.llama", text)) == found
