"""What a block does with bad weights, with files that change, and when it is told to stop."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.architecture import UnsupportedArchitecture
from mlxbuild.toolchain.spec.resolved import Quantization
from mlxbuild.toolchain.steps.block import MixedBlocks
from mlxbuild.toolchain.weights.model import UnusableModel
from mlxbuild.toolchain.weights.origin import NotFiniteWeights
from mlxbuild.toolchain.weights.precision import UnsuitableRecipe
from mlxbuild.toolchain.weights.reading import SourceChanged
from tests.toolchain.weights.block_builds import INT4, INT8, NONE, BlockBuild, variant
from tests.toolchain.weights.tiny_models import CONFIGURATIONS, write_model

SHARD = "model-00001-of-00001.safetensors"


def edit(folder: Path, name: str, value: float | None, *, dtype: mx.Dtype | None = None) -> None:
    """Set one number of a tensor, or drop the tensor."""
    weights: Any = mx.load(str(folder / SHARD))
    if value is None:
        del weights[name]
    else:
        array = weights[name] if dtype is None else weights[name].astype(dtype)
        flat = array.reshape(-1)
        flat[flat.size // 2] = value
        weights[name] = flat.reshape(array.shape)
    mx.eval(weights)
    mx.save_safetensors(str(folder / SHARD), weights)


def edit_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("quantization", [NONE, INT4], ids=lambda quantization: quantization.label)
@pytest.mark.parametrize(
    "name",
    [
        "model.norm.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.2.mlp.experts.3.up_proj.weight",
    ],
)
def test_numbers_that_are_none_are_refused_with_tensor_and_file(
    value: float, quantization: Quantization, name: str, store: Store, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "source", "qwen3_moe")
    edit(folder, name, value)
    with pytest.raises(NotFiniteWeights) as caught:
        BlockBuild(store, folder, variant(folder, quantization), slice_bytes=2048).run()
    assert f"`{name}`" in caught.value.message
    assert caught.value.where == str(folder / SHARD)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_they_are_found_in_every_floating_dtype(dtype: mx.Dtype, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3", dtype=dtype)
    BlockBuild(store, folder, variant(folder, INT8)).run()
    edit(folder, "model.embed_tokens.weight", float("nan"))
    with pytest.raises(NotFiniteWeights, match=r"`model\.embed_tokens\.weight`"):
        BlockBuild(store, folder, variant(folder, INT8)).run()


def test_numbers_too_large_for_the_wanted_dtype_are_refused(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    edit(folder, "model.layers.0.mlp.up_proj.weight", 1e6)
    BlockBuild(store, folder, variant(folder, NONE, dtype="float32")).run()
    with pytest.raises(NotFiniteWeights, match="too large for float16"):
        BlockBuild(store, folder, variant(folder, NONE, dtype="float16")).run()


def test_a_file_that_changes_while_it_is_read_fails_the_step(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    times = itertools.count(1_700_000_000_000_000_000, 1_000)

    def write_all_the_time() -> None:
        with (folder / SHARD).open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\0")
        os.utime(folder / SHARD, ns=(0, next(times)))

    build = BlockBuild(store, folder, variant(folder, INT4), checkpoint=write_all_the_time)
    with pytest.raises(SourceChanged, match="changed while it was read"):
        build.run()


def test_a_file_that_shrinks_while_it_is_read_fails_the_step(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    build = BlockBuild(store, folder, variant(folder, INT4), checkpoint=lambda: os.truncate(folder / SHARD, 4096))
    with pytest.raises(SourceChanged, match="ends too early"):
        build.run()


def test_a_stopped_step_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    build = BlockBuild(store, folder, variant(folder, NONE), slice_bytes=2048)
    before = {blob.digest for blob in store.blobs()}

    class Stopped(Exception):
        pass

    def stop_after_a_while() -> None:
        if len(build.progress) > 5:
            raise Stopped

    build.checkpoint = stop_after_a_while
    with pytest.raises(Stopped):
        build.run()
    left = {blob.digest for blob in store.blobs()} - before
    assert len(left) == 1  # the tensor table
    assert not list((store.home.cache / "tmp").iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "already quantized by `awq`"),
        ({"text_config": {"quantization_config": {"quant_method": "gptq"}}}, "already quantized by `gptq`"),
        ({"model_file": "model.py"}, "asks to run Python code"),
        ({"hidden_size": "wide"}, "cannot make a `qwen3` model"),
        ({"num_hidden_layers": 4}, "the weights lack `model.layers.3.input_layernorm.weight`"),
        ({"num_hidden_layers": 2}, "does not know `model.layers.2.input_layernorm.weight`"),
        ({"intermediate_size": 256}, r"has shape \[192, 128\], but config.json means \[256, 128\]"),
    ],
)
def test_a_configuration_that_is_not_of_these_weights_is_refused(
    fields: dict[str, Any], message: str, store: Store, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    edit_config(folder, **fields)
    with pytest.raises(UnusableModel, match=message) as caught:
        BlockBuild(store, folder, variant(folder, INT4)).run()
    assert caught.value.hint or caught.value.where


def test_an_unknown_architecture_is_named(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    edit_config(folder, model_type="qwem3")
    with pytest.raises(UnsupportedArchitecture, match="qwem3"):
        BlockBuild(store, folder, variant(folder, INT4)).run()


def test_missing_experts_are_told(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3_moe")
    edit(folder, "model.layers.1.mlp.experts.2.up_proj.weight", None)
    with pytest.raises(UnusableModel, match=r"experts\.2\.up_proj"):
        BlockBuild(store, folder, variant(folder, INT4)).run()


def test_integers_under_any_name_are_refused(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "mixtral")
    edit(folder, "model.layers.0.input_layernorm.weight", 1, dtype=mx.int64)
    with pytest.raises(UnusableModel, match="is stored as I64, where the architecture wants floats"):
        BlockBuild(store, folder, variant(folder, NONE)).run()


def test_quantized_weights_are_not_quantized_again(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    once = BlockBuild(store, folder, variant(folder, INT8)).assemble(tmp_path / "once")
    with pytest.raises(UnusableModel, match="already quantized"):
        BlockBuild(store, once, variant(once, INT4)).run()


def test_a_recipe_that_does_not_fit_is_refused(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "mamba")
    quantization = Quantization("mixed", INT4.scheme, "mixed_4_6")
    with pytest.raises(UnsuitableRecipe, match="mixed_4_6"):
        BlockBuild(store, folder, variant(folder, quantization)).run()


def test_an_architecture_that_mixes_blocks_fails_clearly(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm.models import qwen3

    def add_embeddings_to_the_norm(_: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        mean = weights["model.embed_tokens.weight"].mean(axis=0)
        return weights | {"model.norm.weight": weights["model.norm.weight"] + mean}

    monkeypatch.setattr(qwen3.Model, "sanitize", add_embeddings_to_the_norm)
    folder = write_model(tmp_path / "source", "qwen3")
    edit_config(folder, remark="not a model that was seen before")
    with pytest.raises(MixedBlocks, match=r"`model\.norm\.weight` from tensors of the blocks embeddings, head"):
        BlockBuild(store, folder, variant(folder, INT4)).run()


def test_every_family_reports_all_its_bytes(store: Store, tmp_path: Path) -> None:
    for family in CONFIGURATIONS:
        folder = write_model(tmp_path / family, family)
        build = BlockBuild(store, folder, variant(folder, INT4))
        build.run()
        tensors: Any = mx.load(str(folder / SHARD))
        assert sum(build.progress) == sum(tensor.nbytes for tensor in tensors.values())
