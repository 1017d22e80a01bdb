"""Weights that another tool has packed become the numbers that its format means, slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest

from registry.store.layout import Store
from tests.toolchain.weights.block_builds import INT8, NONE, BlockBuild, Quantization, variant
from tests.toolchain.weights.mlx_lm_reference import assert_same, reference
from tests.toolchain.weights.raw_safetensors import write_safetensors
from tests.toolchain.weights.tiny_models import CONFIGURATIONS, published, random_parameters
from toolchain.weights.dtypes import SAFETENSORS_NAMES
from toolchain.weights.facts import BlockFacts


def accuracies(build: BlockBuild) -> dict[str, str]:
    facts = [BlockFacts.from_json(build.store.read(blobs["facts"].digest)) for blobs in build.run().values()]
    return {name: accuracy for each in facts for name, accuracy in each.accuracy.items()}


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("quantization", [NONE, INT8], ids=lambda quantization: quantization.label)
def test_fp8_without_scales_is_cast(family: str, quantization: Quantization, tmp_path: Path, store: Store) -> None:
    """Matrices of E4M3 and nothing that tells of it: built, they were numbers between 0 and 255."""
    config = CONFIGURATIONS[family]
    weights = published(family, config, random_parameters(config, mx.bfloat16, 1))
    folders = {kind: tmp_path / kind for kind in ("packed", "plain")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
    stored, plain = {}, {}
    for name, array in weights.items():
        packs = array.ndim == 2 and "proj" in name
        fp8 = mx.to_fp8(array) if packs else None
        stored[name] = (SAFETENSORS_NAMES[array.dtype], array) if fp8 is None else ("F8_E4M3", fp8)
        plain[name] = stored[name] if fp8 is None else ("BF16", mx.from_fp8(fp8, dtype=mx.bfloat16))
    write_safetensors(folders["packed"] / "model.safetensors", stored)
    write_safetensors(folders["plain"] / "model.safetensors", plain)
    build = BlockBuild(store, folders["packed"], variant(tmp_path, quantization), slice_bytes=1 << 12)
    expected, _ = reference(folders["plain"], quantization.scheme)
    assert_same(build.assemble(tmp_path / "built"), expected)
    found = accuracies(build)
    assert set(found.values()) == {"exact" if quantization is NONE else "rounded"}
    assert all("proj" in name for name in found)
    assert len(found) == sum(name.endswith("proj.weight") for name in expected)
