"""The code of mlx-lm that a model runs, found by reading: no import that happens is missing from it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mlxbuild.runtime.mlx_lm import code

_PROBE = """
import json, sys
from mlxbuild.runtime.mlx_lm.package import submodule
submodule(sys.argv[1])
print(json.dumps([name.removeprefix("mlx_lm.") for name in sys.modules if name.startswith("mlx_lm.")]))
"""


@pytest.mark.parametrize("name", ["llama", "qwen3_next", "gemma3n", "deepseek_v32", "mamba2"])
def test_all_that_an_architecture_imports_is_known(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE, f"models.{name}"], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout)) - {"models"}
    assert f"models.{name}" in loaded
    assert loaded <= code._closure((f"models.{name}",))


def test_another_architecture_is_other_code() -> None:
    digests = {code.weights_code("llama"), code.model_code("llama"), code.weights_code("qwen3"), code.template_code()}
    assert len(digests) == 4


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
    assert set(code._imported("models.llama", text)) == found
