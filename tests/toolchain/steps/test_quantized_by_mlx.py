"""Folders that MLX has quantized, in all the ways in which their config.json has said so over the years."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.weights.formats.packing import UnsupportedQuantization
from tests.toolchain.steps.test_block_decoding import KEEP
from tests.toolchain.weights.block_builds import BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads, assert_same
from tests.toolchain.weights.tiny_models import write_model


@pytest.fixture
def quantized(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A folder quantized by mlx-lm, whose config.json a function has changed."""

    def write(change: Callable[[dict[str, Any]], None]) -> Path:
        utils = submodule("utils")
        model, config = utils.load_model(write_model(tmp_path / "plain", "llama"))
        model, config = utils.quantize_model(model, config, 64, 4)
        utils.save(tmp_path / "source", tmp_path / "plain", model, _Tokenizer(), config)
        file = tmp_path / "source" / "config.json"
        settings = json.loads(file.read_text())
        change(settings)
        file.write_text(json.dumps(settings))
        return tmp_path / "source"

    return write


class _Tokenizer:
    """mlx-lm saves one beside the weights; none is needed here."""

    def save_pretrained(self, _: str) -> None:
        return


def without_mode(config: dict[str, Any]) -> None:
    config.pop("quantization_config", None)
    del config["quantization"]["mode"]


def true_for_a_layer(config: dict[str, Any]) -> None:
    config.pop("quantization_config", None)
    config["quantization"]["model.layers.0.mlp.up_proj"] = True


def only_the_other_name(config: dict[str, Any]) -> None:
    config["quantization_config"] = config.pop("quantization")


@pytest.mark.parametrize("change", [without_mode, true_for_a_layer, only_the_other_name])
def test_older_configurations_are_understood(
    change: Callable[[dict[str, Any]], None],
    quantized: Callable[[Callable[[dict[str, Any]], None]], Path],
    tmp_path: Path,
    store: Store,
) -> None:
    source = quantized(change)
    built = BlockBuild(store, source, variant(tmp_path, KEEP)).assemble(tmp_path / "built")
    entry = json.loads((built / "config.json").read_text())["quantization"]
    assert {key: entry[key] for key in ("mode", "bits", "group_size")} == {
        "mode": "affine",
        "bits": 4,
        "group_size": 64,
    }
    assert entry.get("model.layers.0.mlp.up_proj", {"mode": "affine", "bits": 4, "group_size": 64}) == {
        "mode": "affine",
        "bits": 4,
        "group_size": 64,
    }
    arrays: dict[str, mx.array] = {}
    for file in source.glob("model*.safetensors"):
        arrays |= mx.load(str(file))
    assert_same(built, arrays)
    assert_loads(built)


def test_a_folder_that_does_not_say_how_it_is_quantized(
    quantized: Callable[[Callable[[dict[str, Any]], None]], Path], tmp_path: Path, store: Store
) -> None:
    def neither(config: dict[str, Any]) -> None:
        config.pop("quantization_config", None)
        config.pop("quantization")

    with pytest.raises(UnsupportedQuantization, match="has no `quantization` that says how") as caught:
        BlockBuild(store, quantized(neither), variant(tmp_path, KEEP)).plan()
    assert "quantization: {group_size, bits}" in (caught.value.hint or "")
