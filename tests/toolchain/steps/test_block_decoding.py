"""Weights that another tool has packed become the numbers that its format means, slice by slice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import StepError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from mlxbuild.toolchain.weights.facts import BlockFacts
from mlxbuild.toolchain.weights.formats.decoders.affine import ScatteredGroups
from mlxbuild.toolchain.weights.origin import SourceTensors
from mlxbuild.toolchain.weights.reading import SourceTensor
from mlxbuild.toolchain.weights.safetensors import read_file_header
from tests.toolchain.weights.block_builds import INT8, NONE, BlockBuild, Quantization, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads, assert_same, reference
from tests.toolchain.weights.packed_models import (
    Pack,
    awq,
    fp8,
    gptq,
    int8_rows,
    mxfp4,
    mxfp8,
    nvfp4,
    nvfp4_of_normal,
    pack_quantized,
    write_packed,
)
from tests.toolchain.weights.raw_safetensors import write_safetensors
from tests.toolchain.weights.tiny_models import CONFIGURATIONS, published, random_parameters

BF16 = Quantization("bf16", None)
KEEP = Quantization("keep", None)


def accuracies(build: BlockBuild) -> dict[str, str]:
    return {name: accuracy for each in facts_of(build) for name, accuracy in each.accuracy.items()}


def facts_of(build: BlockBuild) -> list[BlockFacts]:
    return [BlockFacts.from_json(build.store.read(blobs["facts"].digest)) for blobs in build.run().values()]


def built_numbers(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Every parameter of a built folder as mlx-lm loads it, quantized ones as the numbers that they mean."""
    model, _ = submodule("utils").load_model(folder)
    found = {}
    for path, module in model.named_modules():
        if "weight" not in module:
            continue
        if "scales" in module:
            biases = module["biases"].astype(mx.float32) if "biases" in module else None
            scales = module["scales"] if biases is None else module["scales"].astype(mx.float32)
            array = mx.dequantize(
                module["weight"], scales, biases, module.group_size, module.bits, module.mode, dtype=mx.float32
            )
        else:
            array = module["weight"].astype(mx.float32)
        found[f"{path}.weight"] = np.array(array)
    return found


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


def blocks(rows: int, columns: int) -> tuple[int, int]:
    return -(-rows // 128), -(-columns // 128)


FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True, "desc_act": False}
UNEVEN = {**GPTQ, "sym": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}
COMPRESSED = {"quant_method": "compressed-tensors"}
INT = {
    **COMPRESSED,
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 4}}},
}
INT8_ROWS = {**INT, "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}
FLOAT = {**COMPRESSED, "format": "float-quantized"}
NVFP4 = {**COMPRESSED, "format": "nvfp4-pack-quantized"}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
MODELOPT_FP8 = {"quant_method": "modelopt", "quant_algo": "FP8"}

FORMATS: Mapping[str, tuple[Pack, Mapping[str, Any], str]] = {
    "fp8-blocks": (fp8(blocks, "weight_scale_inv"), FP8, "near"),
    "fp8-blocks-of-powers": (fp8(blocks, "weight_scale_inv", powers=True), FP8, "exact"),
    "fp8-rows": (fp8(lambda rows, _: (rows, 1), "weight_scale"), FLOAT, "near"),
    "fp8-tensor": (fp8(lambda _, __: (1, 1), "weight_scale"), MODELOPT_FP8, "near"),
    "fp8-mistral": (fp8(lambda _, __: (1, 1), "qscale_weight"), {"quant_method": "fp8"}, "near"),
    "fp8-groups": (fp8(lambda rows, columns: (rows, columns // 32), "weight_scale"), FLOAT, "near"),
    "mxfp8-blocks": (mxfp8(128, 128), FP8, "exact"),
    "mxfp8-groups": (mxfp8(1, 32), {"quant_method": "mxfp8"}, "exact"),
    "gptq": (gptq(4, 64, symmetric=True), GPTQ, "exact"),
    "gptq-asymmetric": (gptq(4, 64, symmetric=False), UNEVEN, "exact"),
    "gptq-v2": (gptq(4, 32, symmetric=False, form="gptq_v2"), {**UNEVEN, "checkpoint_format": "gptq_v2"}, "exact"),
    "gptq-8": (gptq(8, 64, symmetric=True), {**GPTQ, "bits": 8}, "exact"),
    "gptq-3": (gptq(3, 64, symmetric=False), {**UNEVEN, "bits": 3}, "exact"),
    "gptq-rows": (gptq(4, -1, symmetric=True, g_idx=False), {**GPTQ, "group_size": -1}, "exact"),
    "awq": (awq(64), AWQ, "exact"),
    "packed-4": (pack_quantized(4, 64, symmetric=True), INT, "exact"),
    "packed-asymmetric": (pack_quantized(4, 32, symmetric=False), INT, "exact"),
    "packed-8-rows": (pack_quantized(8, -1, symmetric=True), INT8_ROWS, "exact"),
    "int8": (int8_rows(), {**COMPRESSED, "format": "int-quantized"}, "near"),
    "mxfp4": (mxfp4(), {**COMPRESSED, "format": "mxfp4-pack-quantized"}, "exact"),
    "nvfp4": (nvfp4(2.0**-6, "modelopt", 0.9), MODELOPT, "exact"),
    "nvfp4-compressed": (nvfp4(64.0, "compressed-tensors", 0.9), NVFP4, "exact"),
    "nvfp4-rounded": (nvfp4(0.0123, "modelopt"), MODELOPT, "rounded"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_means_its_numbers(name: str, tmp_path: Path, store: Store) -> None:
    pack, settings, accuracy = FORMATS[name]
    means = write_packed(tmp_path / "source", "llama", pack, settings)
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP), slice_bytes=1 << 12)
    built = build.assemble(tmp_path / "built")
    assert accuracies(build) == dict.fromkeys(means, accuracy)
    found = built_numbers(built)
    for weight, numbers in means.items():
        if accuracy == "rounded":
            assert np.linalg.norm(found[weight] - numbers) < 0.05 * np.linalg.norm(numbers), weight
            continue
        tolerance = {"exact": 0.0, "near": 2.0**-8}[accuracy]
        np.testing.assert_allclose(found[weight], numbers, rtol=tolerance, atol=tolerance / 100, err_msg=weight)
    assert_loads(built)


def test_numbers_under_a_rounded_scale_are_rounded_anew(tmp_path: Path, store: Store) -> None:
    """Scales of small weights lie where E4M3 is coarse: left as they are, their numbers would be off by a third."""
    means = write_packed(tmp_path / "source", "llama", nvfp4(0.0000123, "modelopt", 0.006), MODELOPT)
    built = BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP)).assemble(tmp_path / "built")
    found = built_numbers(built)
    for weight, numbers in means.items():
        assert np.linalg.norm(found[weight] - numbers) < 0.1 * np.linalg.norm(numbers), weight


@pytest.mark.parametrize(
    ("deviation", "smallest", "largest"), [(0.01, 0.07, 0.1), (0.02, 0.05, 0.075), (0.1, 0.01, 0.03)]
)
def test_what_folding_costs_usual_weights_is_measured(
    deviation: float, smallest: float, largest: float, tmp_path: Path, store: Store
) -> None:
    means = write_packed(tmp_path / "source", "llama", nvfp4_of_normal(deviation), MODELOPT)
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP), slice_bytes=1 << 12)
    found = built_numbers(build.assemble(tmp_path / "built"))
    assert set(accuracies(build).values()) == {"rounded"}
    told = {name: error for each in facts_of(build) for name, error in each.errors.items()}
    assert told.keys() == means.keys()
    for weight, numbers in means.items():
        error = np.linalg.norm(found[weight] - numbers) / np.linalg.norm(numbers)
        assert smallest < error < largest, weight
        assert told[weight] == pytest.approx(error, abs=1e-5), weight


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_as_floats(name: str, tmp_path: Path, store: Store) -> None:
    """`quantization: bf16` decodes whatever the source has."""
    pack, settings, _ = FORMATS[name]
    means = write_packed(tmp_path / "source", "llama", pack, settings)
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, BF16, dtype="bfloat16"), slice_bytes=1 << 12)
    built = build.assemble(tmp_path / "built")
    assert "quantization" not in json.loads((built / "config.json").read_text())
    found = built_numbers(built)
    for weight, numbers in means.items():
        expected = np.array(mx.array(numbers.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32))
        np.testing.assert_allclose(found[weight], expected, rtol=2.0**-7, err_msg=weight)
    assert set(accuracies(build).values()) <= {"exact", "near"}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("deepseek_v3", "fp8-blocks"),
        ("deepseek_v3", "packed-32"),
        ("llama", "awq"),
        ("qwen3", "awq"),
        ("llama", "awq-called-gptq"),
    ],
)
def test_what_mlx_lm_loads_itself_is_equal_to_the_bit(family: str, name: str, tmp_path: Path, store: Store) -> None:
    others = {"packed-32": (pack_quantized(4, 32, symmetric=True), INT, ""), "awq-called-gptq": (awq(64), UNEVEN, "")}
    pack, settings, _ = {**FORMATS, **others}[name]
    is_awq = name.startswith("awq")
    half = mx.float16 if is_awq else mx.bfloat16
    write_packed(tmp_path / "source", family, pack, settings, dtype=half)
    # mlx-lm rounds AWQ's biases to the dtype of the scales; by default they are kept in float32 here.
    spec = variant(tmp_path, KEEP, dtype="float16" if is_awq else None)
    build = BlockBuild(store, tmp_path / "source", spec, slice_bytes=1 << 12)
    expected, _ = reference(tmp_path / "source", None)
    assert_same(build.assemble(tmp_path / "built"), expected)
    if is_awq:
        assert set(accuracies(build).values()) == {"near"}


@pytest.mark.parametrize("name", ["fp8-blocks", "gptq-asymmetric", "packed-4", "nvfp4"])
def test_experts_are_stacked_decoded(name: str, tmp_path: Path, store: Store) -> None:
    pack, settings, accuracy = FORMATS[name]
    means = write_packed(tmp_path / "source", "qwen3_moe", pack, settings)
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP), slice_bytes=1 << 12)
    found = built_numbers(build.assemble(tmp_path / "built"))
    stacked = [np.stack([means[f"model.layers.1.mlp.experts.{n}.up_proj.weight"] for n in range(4)])]
    tolerance = 0.0 if accuracy == "exact" else 2.0**-8
    np.testing.assert_allclose(found["model.layers.1.mlp.switch_mlp.up_proj.weight"], stacked[0], rtol=tolerance)
    assert accuracies(build)["model.layers.1.mlp.switch_mlp.up_proj.weight"] == accuracy


def test_columns_that_lie_apart_are_found_while_they_are_read(tmp_path: Path, store: Store) -> None:
    """config.json says that they do not."""
    write_packed(tmp_path / "source", "llama", gptq(4, 64, symmetric=True, ordered=False), GPTQ)
    with pytest.raises(ScatteredGroups, match="orders columns in another way than"):
        BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP)).run()


@pytest.mark.parametrize("group_size", [64, 16])
def test_columns_that_lie_apart_are_decoded(group_size: int, tmp_path: Path, store: Store) -> None:
    """`desc_act`, or groups that MLX has not: nothing to keep, but all to decode."""
    pack = gptq(4, group_size, symmetric=False, ordered=False)
    means = write_packed(tmp_path / "source", "llama", pack, {**UNEVEN, "desc_act": True, "group_size": group_size})
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, BF16, dtype="float32"), slice_bytes=1 << 12)
    found = built_numbers(build.assemble(tmp_path / "built"))
    for weight, numbers in means.items():
        np.testing.assert_array_equal(found[weight], numbers.astype(np.float32), err_msg=weight)
    assert set(accuracies(build).values()) == {"exact"}


def test_a_second_rounding_is_of_the_decoded_numbers(tmp_path: Path, store: Store) -> None:
    """int8 of GPTQ is int8 of what GPTQ means, and is called rounded."""
    pack, settings, _ = FORMATS["gptq"]
    means = write_packed(tmp_path / "source", "llama", pack, settings)
    build = BlockBuild(store, tmp_path / "source", variant(tmp_path, INT8))
    found = built_numbers(build.assemble(tmp_path / "built"))
    assert INT8.scheme is not None
    for weight, numbers in means.items():
        wide = mx.array(numbers.astype(np.float32)).astype(mx.bfloat16)
        twice = mx.dequantize(*mx.quantize(wide, 64, 8), group_size=64, bits=8)
        np.testing.assert_allclose(found[weight], np.array(twice.astype(mx.float32)), rtol=2.0**-7, atol=1e-3)
    assert set(accuracies(build).values()) == {"rounded"}


BITNET = {
    "model_type": "bitnet", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "head_dim": 32,
    "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "vocab_size": 32,
    "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "head_dim": 32,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 32, "num_local_experts": 4,
    "num_experts_per_tok": 2, "sliding_window": 16, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16",
    "layer_types": ["sliding_attention", "full_attention"], "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip


def test_ternary_weights_are_taken_as_they_are(tmp_path: Path, store: Store) -> None:
    """BitNet: four numbers a byte, and the settings that say so stay in config.json."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(BITNET))
    stored: dict[str, tuple[str, Any]] = {}
    generator = np.random.default_rng(3)
    unpacked = 0
    for name, array in random_parameters(BITNET, mx.bfloat16, 2).items():
        if name.endswith("_proj.weight"):
            stored[name] = ("U8", generator.integers(0, 256, array.shape).astype(np.uint8))
            unpacked += array.size * 4
        else:
            stored[name] = ("BF16", array)
            unpacked += array.size
    write_safetensors(source / "model.safetensors", stored)
    build = BlockBuild(store, source, variant(tmp_path, KEEP))
    built = build.assemble(tmp_path / "built")
    expected, _ = reference(source, None)
    assert_same(built, expected)
    assert json.loads((built / "config.json").read_text())["quantization_config"] == BITNET["quantization_config"]
    index = json.loads((built / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == unpacked
    assert reference(built, None)[0].keys() == expected.keys()


def test_mxfp4_of_gpt_oss_is_arranged_by_mlx_lm(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(GPT_OSS))
    generator = np.random.default_rng(3)
    stored: dict[str, tuple[str, Any]] = {}
    for name, array in random_parameters(GPT_OSS, mx.bfloat16, 2).items():
        experts, _, leaf = name.rpartition("experts.")
        if not experts:
            stored[name] = ("BF16", array)
        elif leaf.startswith(("gate_proj", "down_proj")):
            kind, what = leaf.split(".")
            place = f"{experts}experts.{'gate_up_proj' if kind == 'gate_proj' else kind}"
            twice = 2 if kind == "gate_proj" else 1
            if what == "bias":
                stored[f"{place}_bias"] = ("BF16", mx.concatenate([array] * twice, axis=1))
            else:
                count, rows, columns = array.shape
                shape = (count, rows * twice, columns // 32)
                stored[f"{place}_blocks"] = ("U8", generator.integers(0, 256, (*shape, 16)).astype(np.uint8))
                stored[f"{place}_scales"] = ("U8", generator.integers(115, 120, shape).astype(np.uint8))
    write_safetensors(source / "model.safetensors", stored)
    built = BlockBuild(store, source, variant(tmp_path, KEEP)).assemble(tmp_path / "built")
    expected, _ = reference(source, None)
    assert_same(built, expected)
    assert_loads(built)


def test_nothing_beyond_a_part_is_read(tmp_path: Path) -> None:
    """A table that claims more than there is gets an error, and not the numbers of the next tensor."""
    file = tmp_path / "model.safetensors"
    write_safetensors(file, {"a": ("U8", np.zeros((2, 4), np.uint8)), "b": ("U8", np.ones((2, 4), np.uint8))})
    digest = Digest.of_bytes(b"any")
    row = next(row for row in read_file_header(file) if row.name == "a")
    part = SourceTensor("a", row.dtype, row.shape, digest, row.begin, row.size_bytes)
    with SourceTensors(lambda _: file, 1 << 20, lambda _: None) as sources:
        whole = DecodedTensor("c", "U8", (2, 4), "stored", {}, {"data": part})
        assert sources.whole(whole).tolist() == [[0] * 4] * 2
        with pytest.raises(StepError, match="`a` is too small for `c`"):
            sources.whole(DecodedTensor("c", "U8", (3, 4), "stored", {}, {"data": part}))
