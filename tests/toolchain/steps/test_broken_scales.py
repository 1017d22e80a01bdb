"""Scales that are bytes, and those of whole tensors: what is no number, or loses the weights, is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.registry.core.errors import StepError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.weights.formats.decoders.nvfp4 import UnusableScale
from mlxbuild.toolchain.weights.origin import LossyScales, NotFiniteWeights
from tests.toolchain.steps.test_block_decoding import BF16, FP8, KEEP, MODELOPT, NVFP4
from tests.toolchain.weights.block_builds import BlockBuild, Quantization, variant
from tests.toolchain.weights.packed_models import Pack, Packed, mxfp4, mxfp8, nvfp4, write_packed
from tests.toolchain.weights.tiny_models import write_model

MXFP4 = {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}
NAN = float("nan")


def with_scale(pack: Pack, leaf: str, value: Any) -> Pack:
    """The same, with the first number of a leaf changed."""

    def changed(values: np.ndarray[Any, Any], generator: np.random.Generator) -> Packed:
        packed = pack(values, generator)
        dtype, array = packed.stored[leaf]
        array = np.array(array)
        array.reshape(-1)[0] = value
        return Packed({**packed.stored, leaf: (dtype, array)}, packed.means)

    return changed


@pytest.mark.parametrize("quantization", [KEEP, BF16], ids=lambda quantization: quantization.label)
@pytest.mark.parametrize(
    ("pack", "settings", "leaf", "value"),
    [
        (mxfp4(), MXFP4, "weight_scale", 0xFF),
        (mxfp8(1, 32), FP8, "weight_scale_inv", 0xFF),
        (mxfp8(1, 32), FP8, "weight", 0x7F),
        (nvfp4(2.0**-6, "modelopt", 0.9), MODELOPT, "weight_scale", 0x7F),
        (nvfp4(2.0**-6, "modelopt", 0.9), MODELOPT, "weight_scale_2", NAN),
        (nvfp4(64.0, "compressed-tensors", 0.9), NVFP4, "weight_global_scale", NAN),
    ],
    ids=["mxfp4", "mxfp8", "mxfp8-number", "nvfp4", "nvfp4-whole", "nvfp4-global"],
)
def test_scales_that_are_no_numbers_are_found(
    pack: Pack,
    settings: Mapping[str, Any],
    leaf: str,
    value: Any,
    quantization: Quantization,
    tmp_path: Path,
    store: Store,
) -> None:
    write_packed(tmp_path / "source", "llama", with_scale(pack, leaf, value), settings)
    dtype = None if quantization is KEEP else "bfloat16"
    with pytest.raises(NotFiniteWeights, match="holds NaN or infinity") as caught:
        BlockBuild(store, tmp_path / "source", variant(tmp_path, quantization, dtype=dtype)).run()
    assert caught.value.where
    if quantization is KEEP or value is NAN:
        assert f".{leaf}`" in caught.value.message


@pytest.mark.parametrize(
    ("pack", "settings", "leaf", "exponent", "largest", "dtype"),
    [
        (mxfp4(), MXFP4, "weight_scale", 254, 252, None),
        (mxfp4(), MXFP4, "weight_scale", 253, 252, "bfloat16"),
        (mxfp4(), MXFP4, "weight_scale", 253, 252, "float32"),
        (mxfp4(), MXFP4, "weight_scale", 141, 140, "float16"),
        (mxfp8(1, 32), FP8, "weight_scale_inv", 247, 246, None),
        (mxfp8(1, 32), FP8, "weight_scale_inv", 135, 134, "float16"),
    ],
)
def test_exponents_are_as_large_as_what_is_computed_in_can_hold(
    pack: Pack,
    settings: Mapping[str, Any],
    leaf: str,
    exponent: int,
    largest: int,
    dtype: str | None,
    tmp_path: Path,
    store: Store,
) -> None:
    """Of 255, which is NaN in all of them, above."""
    for number, value in enumerate((exponent, largest)):
        write_packed(tmp_path / str(number), "llama", with_scale(pack, leaf, value), settings)
    build = BlockBuild(store, tmp_path / "0", variant(tmp_path, KEEP, dtype=dtype))
    what = f"{leaf}` holds scales under which numbers are too large for {dtype or 'bfloat16'}"
    with pytest.raises(NotFiniteWeights, match=what) as caught:
        build.run()
    assert ("`dtype: bfloat16`" in (caught.value.hint or "")) == (dtype == "float16")
    BlockBuild(store, tmp_path / "1", variant(tmp_path, KEEP, dtype=dtype)).run()
    if dtype is not None and settings is MXFP4:
        with pytest.raises(NotFiniteWeights, match=f"weight` holds numbers too large for {dtype}"):
            BlockBuild(store, tmp_path / "0", variant(tmp_path, BF16, dtype=dtype)).run()


def test_stacked_scales_of_experts_are_looked_at(tmp_path: Path, store: Store) -> None:
    write_packed(tmp_path / "source", "qwen3_moe", with_scale(mxfp4(), "weight_scale", 0xFF), MXFP4)
    with pytest.raises(NotFiniteWeights, match=r"weight_scale` holds NaN or infinity"):
        BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP)).run()


@pytest.mark.parametrize("value", [0.0, -0.01])
@pytest.mark.parametrize("quantization", [KEEP, BF16], ids=lambda quantization: quantization.label)
def test_a_scale_of_a_whole_tensor_is_above_zero(
    value: float, quantization: Quantization, tmp_path: Path, store: Store
) -> None:
    pack = with_scale(nvfp4(2.0**-6, "modelopt", 0.9), "weight_scale_2", value)
    write_packed(tmp_path / "source", "llama", pack, MODELOPT)
    with pytest.raises(UnusableScale, match=r"weight_scale_2` is -?0.*above zero"):
        BlockBuild(store, tmp_path / "source", variant(tmp_path, quantization)).run()


@pytest.mark.parametrize(("whole", "largest"), [(1.3e-6, 0.0005), (1e3, 1.0)])
def test_folding_that_loses_the_numbers_is_refused(whole: float, largest: float, tmp_path: Path, store: Store) -> None:
    """Groups that would become zero, and those beyond what E4M3 holds."""
    pack = nvfp4(whole, "modelopt", largest if whole < 1 else 1e5)
    write_packed(tmp_path / "source", "llama", pack, MODELOPT)
    with pytest.raises(LossyScales, match=r"costs \d+\.\d% of it .*up to 10% is taken") as caught:
        BlockBuild(store, tmp_path / "source", variant(tmp_path, KEEP)).run()
    assert "`quantization: bf16`" in (caught.value.hint or "")


def _changed(weights: dict[str, mx.array], config: dict[str, Any], what: str) -> None:
    entry, module = config["quantization"], "model.layers.0.mlp.up_proj"
    if what == "scales":
        weights[f"{module}.scales"] = mx.zeros(weights[f"{module}.scales"].shape, dtype=mx.int32)
    elif what == "stray":
        weights["model.layers.1.mlp.gone.scales"] = weights[f"{module}.scales"]
    elif what == "named":
        entry[module] = {"bits": 8, "group_size": 64, "mode": "affine"}
    else:
        key, value = what.split("=")
        entry[key] = value if key == "mode" or value == "4" else int(value)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("bits=8", r"says of `.*` 8 bits in groups of 64 \(affine\), but its tensors are of 4 bits in groups of 64"),
        ("group_size=32", r"4 bits in groups of 32 .*, but its tensors are of 4 bits in groups of 64"),
        ("bits=4", "says of `.*` nothing that MLX knows, but"),
        ("mode=foo", r"4 bits in groups of 64 \(foo\), but its tensors .*, with biases, with scales of BF16"),
        ("mode=mxfp4", r"\(mxfp4\), but its tensors .*, with biases"),
        ("named", r"says of `model.layers.0.mlp.up_proj` 8 bits"),
        ("scales", r"up_proj` 4 bits .*, with scales of I32"),
        ("stray", r"does not know `model.layers.1.mlp.gone.scales`"),
    ],
)
def test_a_folder_of_mlx_that_says_something_else_of_itself(
    what: str, words: str, tmp_path: Path, store: Store
) -> None:
    import json

    utils = submodule("utils")
    plain = write_model(tmp_path / "plain", "llama")
    model, config = utils.load_model(plain)
    model, config = utils.quantize_model(model, config, 64, 4)
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten(model.parameters())
    weights = dict(flat)
    config.pop("quantization_config", None)
    _changed(weights, config, what)
    source = tmp_path / "source"
    source.mkdir()
    mx.save_safetensors(str(source / "model.safetensors"), weights)
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(StepError, match=words):
        BlockBuild(store, source, variant(tmp_path, KEEP)).run()
