"""SmolLM2 as other tools would have quantized it: taken over without another rounding, it answers as it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from tests.mlxbuild.conftest import CommandLine
from tests.real import models
from tests.toolchain.weights.packed_models import Packed, gptq
from tests.toolchain.weights.raw_safetensors import write_safetensors

RECIPE = """\
name: packed
version: "1.0"
base: {path: model}
tests:
  - complete:
      messages: [{role: user, content: What is the capital of France?}]
      expect: {contains: Paris}
      max_tokens: 16
"""
SETTINGS = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False},
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
}


def _fp8(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Packed:
    """Blocks of 128 x 128, each with the scale that brings its largest number to that of E4M3."""
    rows, columns = values.shape
    down, across = -(-rows // 128), -(-columns // 128)
    whole = np.zeros((down * 128, across * 128), np.float32)
    whole[:rows, :columns] = values
    scales = (np.abs(whole.reshape(down, 128, across, 128)).max((1, 3)) / 448).astype(np.float32)
    spread = np.repeat(np.repeat(scales, 128, 0), 128, 1)[:rows, :columns]
    codes = mx.to_fp8(mx.array(values / spread))
    return Packed({"weight": ("F8_E4M3", codes), "weight_scale_inv": ("F32", scales)}, values)


@pytest.mark.parametrize(
    ("method", "variant", "accuracy"), [("gptq", "keep", "210 exact"), ("fp8", "none", "210 near")]
)
def test_it_answers_as_it_did(method: str, variant: str, accuracy: str, tmp_path: Path) -> None:
    source = models.require(models.SMOLLM2)
    folder = tmp_path / "recipe"
    shutil.copytree(source, folder / "model", ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    settings = json.loads((source / "config.json").read_text()) | {"quantization_config": SETTINGS[method]}
    (folder / "model" / "config.json").write_text(json.dumps(settings))
    stored = {}
    for name, array in mx.load(str(source / "model.safetensors")).items():
        if name.endswith("_proj.weight"):
            values = np.array(array.astype(mx.float32))
            pack = gptq(4, 32, symmetric=False, fits=True)
            packed = _fp8(values) if method == "fp8" else pack(values, np.random.default_rng(0))
            stored |= {name.removesuffix("weight") + leaf: each for leaf, each in packed.stored.items()}
        else:
            stored[name] = (SAFETENSORS_NAMES[array.dtype], array)
    write_safetensors(folder / "model" / "model.safetensors", stored)
    (folder / "ModelSpec.yaml").write_text(RECIPE)
    mlxbuild = CommandLine(folder, Home(tmp_path / "home"))
    done = mlxbuild("create")  # the gate asks it
    assert done.code == 0, done.err
    assert f"  against its source: {accuracy} of 210 tensors\n" in mlxbuild("show", f"packed:{variant}").out
