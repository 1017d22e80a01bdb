"""Blocks put together are the model that mlx-lm itself converts, bit for bit, and mlx-lm loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.spec.resolved import Quantization, QuantizationScheme
from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from mlxbuild.toolchain.weights.encoding import as_bytes
from mlxbuild.toolchain.weights.safetensors import read_file_header
from mlxbuild.toolchain.weights.writer import StoredTensor, header
from tests.toolchain.weights.block_builds import INT4, INT8, NONE, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads, assert_same, reference
from tests.toolchain.weights.tiny_models import CONFIGURATIONS, random_parameters, write_model

MODES = {
    "mxfp4": QuantizationScheme("mxfp4", 4, 32),
    "mxfp8": QuantizationScheme("mxfp8", 8, 32),
    "nvfp4": QuantizationScheme("nvfp4", 4, 16),
    "affine-3bit-g32": QuantizationScheme("affine", 3, 32),
}


@pytest.mark.parametrize("family", sorted(CONFIGURATIONS))
@pytest.mark.parametrize("quantization", [NONE, INT4], ids=lambda quantization: quantization.label)
def test_every_family_is_as_mlx_lm_makes_it(
    family: str, quantization: Quantization, store: Store, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "source", family, shards=2)
    built = BlockBuild(store, folder, variant(folder, quantization), threads=2).assemble(tmp_path / "built")
    expected, _ = reference(folder, quantization.scheme)
    assert_same(built, expected)
    assert_loads(built)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_every_mode_is_as_mlx_lm_makes_it(mode: str, family: str, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", family)
    quantization = Quantization(mode, MODES[mode])
    built = BlockBuild(store, folder, variant(folder, quantization)).assemble(tmp_path / "built")
    expected, _ = reference(folder, MODES[mode])
    assert_same(built, expected)
    assert_loads(built)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("quantization", [NONE, INT8], ids=lambda quantization: quantization.label)
def test_casts_are_as_mlx_lm_makes_them(dtype: str, quantization: Quantization, store: Store, tmp_path: Path) -> None:
    # deepseek_v3 exempts a parameter from casting
    folder = write_model(tmp_path / "source", "deepseek_v3", dtype=mx.bfloat16)
    built = BlockBuild(store, folder, variant(folder, quantization, dtype=dtype)).assemble(tmp_path / "built")
    expected, _ = reference(folder, quantization.scheme, dtype)
    assert_same(built, expected)
    assert json.loads((built / "config.json").read_text())["torch_dtype"] == dtype


@pytest.mark.parametrize("recipe", ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"])
def test_mixed_recipes_are_as_mlx_lm_makes_them(recipe: str, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "llama")
    scheme = QuantizationScheme("affine", int(recipe[6]), 64)
    built = BlockBuild(store, folder, variant(folder, Quantization(recipe, scheme, recipe))).assemble(tmp_path / "b")
    expected, _ = reference(folder, scheme, predicate=recipe)
    assert_same(built, expected)
    assert_loads(built)


def test_overrides_choose_precision_module_by_module(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3_moe")
    eight, two = QuantizationScheme("affine", 8, 32), QuantizationScheme("affine", 2, 64)
    overrides = (
        ("model.layers.1.*", eight),
        ("*.q_proj", None),
        ("lm_head", eight),
        ("model.layers.2.mlp.gate", two),
    )
    quantization = Quantization("custom", INT4.scheme, overrides=overrides)
    built = BlockBuild(store, folder, variant(folder, quantization)).assemble(tmp_path / "built")

    def predicate(path: str, module: Any) -> bool | dict[str, Any]:
        if path.endswith(".q_proj"):
            return False
        if path == "model.layers.2.mlp.gate":
            return {"group_size": 64, "bits": 2}
        if path.endswith("mlp.gate"):  # the architecture's own rule, which globs leave alone
            return {"group_size": 64, "bits": 8}
        if path.startswith("model.layers.1.") or path == "lm_head":
            return {"group_size": 32, "bits": 8}
        return True

    expected, _ = reference(folder, INT4.scheme, predicate=predicate)
    assert_same(built, expected)
    assert_loads(built)
    config = json.loads((built / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"]
    assert config["quantization"]["lm_head"] == {"mode": "affine", "bits": 8, "group_size": 32}
    assert "model.layers.0.self_attn.k_proj" not in config["quantization"]


def test_single_modules_can_be_quantized_in_an_unquantized_model(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    overrides = (("model.layers.1.mlp.*", QuantizationScheme("mxfp8", 8, 32)),)
    spec = variant(folder, Quantization("custom", None, overrides=overrides))
    built = BlockBuild(store, folder, spec).assemble(tmp_path / "built")
    assert_loads(built)
    names = {row.name for file in built.glob("*.safetensors") for row in read_file_header(file)}
    assert {name.rpartition(".")[0] for name in names if name.endswith(".scales")} == {
        f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")
    }


def test_a_quantized_source_is_passed_through_with_its_configuration(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3_moe")
    first = BlockBuild(store, folder, variant(folder, INT4)).assemble(tmp_path / "first")
    second = BlockBuild(store, first, variant(first)).assemble(tmp_path / "second")
    expected, config = reference(first, None)
    assert_same(second, expected)
    assert_loads(second)
    again = json.loads((second / "config.json").read_text())
    assert again["quantization"] == json.loads((first / "config.json").read_text())["quantization"]
    assert config["quantization"] == again["quantization"]


@pytest.mark.parametrize("quantization", [NONE, INT4], ids=lambda quantization: quantization.label)
def test_a_nested_head_that_is_tied_is_left_out(quantization: Quantization, store: Store, tmp_path: Path) -> None:
    """Publishers store it beside the embeddings; mlx-lm drops such a head at the top alone."""
    config = {"model_type": "qwen3_vl", "text_config": CONFIGURATIONS["qwen3"]}
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    weights = random_parameters(config, mx.bfloat16, 0)
    weights["language_model.lm_head.weight"] = weights["language_model.model.embed_tokens.weight"] * 2
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    built = BlockBuild(store, folder, variant(folder, quantization)).assemble(tmp_path / "built")
    names = {tensor.name for file in built.glob("*.safetensors") for tensor in read_file_header(file)}
    assert names
    assert not [name for name in names if "lm_head" in name]
    assert_loads(built)


def test_float8_weights_are_unpacked_as_mlx_lm_unpacks_them(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "deepseek_v3")
    (file,) = folder.glob("*.safetensors")
    arrays: Any = mx.load(str(file))
    name = "model.layers.1.self_attn.o_proj.weight"
    arrays[f"{name}_scale_inv"] = mx.full((1, 2), 0.25)
    arrays[name] = mx.to_fp8(arrays[name])
    rows = []
    for each in sorted(arrays):
        dtype = "F8_E4M3" if each == name else SAFETENSORS_NAMES[arrays[each].dtype]
        rows.append(StoredTensor(each, dtype, arrays[each].shape, arrays[each].nbytes))
    contents = b"".join(bytes(memoryview(as_bytes(arrays[row.name]))) for row in rows)
    file.write_bytes(header(rows) + contents)
    config = json.loads((folder / "config.json").read_text())
    packing = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    (folder / "config.json").write_text(json.dumps(config | packing))

    built = BlockBuild(store, folder, variant(folder, INT4)).assemble(tmp_path / "built")
    assert_same(built, reference(folder, INT4.scheme)[0])
    assert_loads(built)
    plain = BlockBuild(store, folder, variant(folder)).assemble(tmp_path / "plain")
    assert "quantization_config" not in json.loads((plain / "config.json").read_text())
    assert_loads(plain)


def test_the_index_counts_as_mlx_lm_counts(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3_moe")
    built = BlockBuild(store, folder, variant(folder, INT4)).assemble(tmp_path / "built")
    again = BlockBuild(store, built, variant(built)).assemble(tmp_path / "again")
    utils = submodule("utils")
    model, _ = utils.load_model(built)
    for target in (built, again):
        index = json.loads((target / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_parameters"] == utils.get_total_parameters(model)
        assert index["metadata"]["total_size"] == sum(v.nbytes for _, v in tree_flatten(model.parameters()))
        assert sorted(index["weight_map"]) == [name for name, _ in sorted(tree_flatten(model.parameters()))]
