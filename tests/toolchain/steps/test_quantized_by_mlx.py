"""Folders that MLX has quantized, in all the ways in which their config.json has said so over the years."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from registry.store.layout import Store
from runtime.model.mlx_lm_package import submodule
from tests.toolchain.steps.test_block_decoding import BF16, KEEP, accuracies, built_numbers
from tests.toolchain.weights.block_builds import INT8, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads, assert_same, reference
from tests.toolchain.weights.tiny_models import write_model
from toolchain.weights.formats.packing import UnsupportedQuantization


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


@pytest.mark.parametrize("quantization", [BF16, INT8], ids=lambda quantization: quantization.label)
def test_quantized_once_more(
    quantization: Any,
    quantized: Callable[[Callable[[dict[str, Any]], None]], Path],
    tmp_path: Path,
    store: Store,
) -> None:
    """Decoded to floats first, as `mlx_lm.convert --dequantize` would, and then quantized like any floats."""
    source = quantized(without_mode)
    utils = submodule("utils")
    model, config = utils.load_model(source)
    model = utils.dequantize_model(model)
    model.set_dtype(mx.bfloat16)
    config = {key: value for key, value in config.items() if not key.startswith("quantization")}
    utils.save(tmp_path / "floats", source, model, _Tokenizer(), config)
    spec = variant(tmp_path, quantization, dtype="bfloat16")
    build = BlockBuild(store, source, spec)
    built = build.assemble(tmp_path / "built")
    expected, _ = reference(tmp_path / "floats", quantization.scheme)
    assert set(built_numbers(built)) == set(built_numbers(tmp_path / "floats"))
    for name, array in built_numbers(tmp_path / "floats").items():
        assert abs(built_numbers(built)[name] - array).max() < 0.01, name
    assert expected.keys() == {name for file in built.glob("model*.safetensors") for name in mx.load(str(file))}
    assert set(accuracies(build).values()) <= {"rounded"} if quantization is INT8 else {"exact", "near"}
