"""Blocks, overrides and the plan made of them: what is in a key, and what a change touches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.spec.resolved import Adapter, FolderSource, Quantization, QuantizationScheme
from mlxbuild.toolchain.weights.blocks import layer_index, order_of, partition
from mlxbuild.toolchain.weights.overrides import matching_override, relevant_overrides
from mlxbuild.toolchain.weights.plan import BlockWork, UnusableSource, plan_weights
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights
from tests.toolchain.weights.block_builds import INT4, INT8, NONE, variant

EIGHT = QuantizationScheme("affine", 8, 64)
FOLDER = Path("model")


def tensors(*names: str, file: str = "model.safetensors") -> tuple[LockedTensor, ...]:
    return tuple(LockedTensor(name, "BF16", (4, 8), file, 100 + 64 * i, 64) for i, name in enumerate(names))


def source(*rows: LockedTensor, role: str = "base", extra: tuple[str, ...] = ("config.json",)) -> LockedSource:
    paths = sorted({row.file for row in rows} | set(extra))
    files = tuple(LockedFile(path, Blob(Digest.of_bytes(f"{role}/{path}".encode()), 10)) for path in paths)
    return LockedSource(role, "folder", ".", None, None, files, rows)


BASE = source(
    *tensors(
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.10.mlp.up_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    )
)


def work(base: LockedSource = BASE, quantization: Quantization = INT4) -> dict[str, BlockWork]:
    return {block.label: block for block in plan_weights(variant(FOLDER, quantization), base, ()).blocks}


def test_blocks_come_in_the_order_of_the_model() -> None:
    blocks = partition(BASE.tensors)
    assert [block.label for block in blocks] == ["embeddings", "000", "001", "010", "head"]
    assert [tensor.name for tensor in blocks[-1].tensors] == ["lm_head.weight", "model.norm.weight"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("model.embed_tokens.weight", "embeddings"),
        ("transformer.wte.weight", "embeddings"),
        ("wpe.weight", "embeddings"),
        ("word_embeddings_layernorm.bias", "embeddings"),
        ("tok_embeddings.weight", "embeddings"),
        ("transformer.h.5.attn.weight", "005"),
        ("model.layers.7.mlp.experts.3.up_proj.weight", "007"),
        ("model.layers.1234.x", "1234"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "head"),
        ("model.layers.x1.weight", "head"),
        ("model.layers.²", "head"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert [block.label for block in partition(tensors(name))] == [label]


@given(st.lists(st.text("ab.019", min_size=1, max_size=8), unique=True, max_size=20))
def test_every_tensor_is_in_one_block_and_order_does_not_matter(names: list[str]) -> None:
    rows = tensors(*names)
    blocks = partition(rows)
    assert sorted(tensor.name for block in blocks for tensor in block.tensors) == sorted(names)
    assert partition(rows[::-1]) == blocks
    labels = [block.label for block in blocks]
    assert labels == sorted(set(labels), key=order_of)
    for block in blocks:
        assert len({layer_index(tensor.name) for tensor in block.tensors}) == 1


modules = st.from_regex(
    r"(model\.)?(layers\.(0|1|10|11)|embed_tokens|head)(\.(mlp|experts\.[01]|q_proj)){0,2}", fullmatch=True
)
globs = st.from_regex(r"[mh*?]?(odel\.)?(layers\.)?(\*|1\*|1|10|\[01\]|head)(\.\*|\.mlp)?", fullmatch=True)


@given(modules, st.lists(st.tuples(globs, st.sampled_from([None, EIGHT])), max_size=4))
def test_an_override_that_is_left_out_of_a_block_matches_nothing_there(
    module: str, overrides: list[tuple[str, QuantizationScheme | None]]
) -> None:
    label = partition(tensors(module))[0].label
    assert matching_override(relevant_overrides(overrides, label), module) == matching_override(overrides, module)


def test_one_layers_bits_are_in_the_key_of_that_block_alone() -> None:
    changed = work(quantization=replace(INT4, overrides=(("model.layers.1.*", EIGHT),)))
    assert {label for label, block in work().items() if block != changed[label]} == {"001"}


def test_a_layer_that_stays_unquantized_shares_its_key_with_the_unquantized_variant() -> None:
    unquantized = work(quantization=Quantization("custom", None, overrides=(("model.layers.1.*", EIGHT),)))
    plain = work(quantization=NONE)
    assert {block.step for block in plain.values()} == {"convert"}
    assert unquantized["000"] == plain["000"]
    assert unquantized["001"].step == "quantize"


def test_the_table_holds_names_dtypes_and_shapes_and_no_place() -> None:
    plan = plan_weights(variant(FOLDER, INT8), BASE, ())
    assert json.loads(plan.table)[0] == ["lm_head.weight", "BF16", [4, 8]]
    assert all(block.inputs["table"] == Digest.of_bytes(plan.table) for block in plan.blocks)


def test_moving_a_file_changes_no_work_and_other_bytes_change_that_files_blocks() -> None:
    moved = replace(
        BASE,
        identity="elsewhere",
        files=tuple(replace(file, path=file.path.replace("model.", "model-1.")) for file in BASE.files),
        tensors=tuple(replace(tensor, file="model-1.safetensors") for tensor in BASE.tensors),
    )
    assert work(moved) == work()
    first, second = (
        tensors("model.layers.0.w", file="model-1.safetensors"),
        tensors("model.layers.1.w", file="model-2.safetensors"),
    )
    one = source(*first, *second)
    other_bytes = tuple(
        replace(file, blob=Blob(Digest.of_bytes(b"new"), 10)) if file.path == "model-2.safetensors" else file
        for file in one.files
    )
    before, after = work(one), work(replace(one, files=other_bytes))
    assert before["000"] == after["000"]
    assert before["001"] != after["001"]


def test_only_the_files_that_mlx_lm_reads_are_taken() -> None:
    base = source(
        *tensors("model.layers.0.w"),
        *tensors("layers.0.w", file="consolidated.safetensors"),
        *tensors("model.layers.0.w", file="original/model.safetensors"),
    )
    assert [block.label for block in plan_weights(variant(FOLDER), base, ()).blocks] == ["000"]


def test_unusable_bases_are_refused() -> None:
    with pytest.raises(UnusableSource, match="no tensors"):
        plan_weights(variant(FOLDER), source(*tensors("w", file="pytorch.safetensors")), ())
    with pytest.raises(UnusableSource, match=r"no config\.json"):
        plan_weights(variant(FOLDER), source(*tensors("w"), extra=()), ())
    twice = source(*tensors("w", file="model-1.safetensors"), *tensors("w", file="model-2.safetensors"))
    with pytest.raises(UnsafeWeights, match=r"`w` is in both model-1\.safetensors and model-2\.safetensors"):
        plan_weights(variant(FOLDER), twice, ())


def test_adapters_are_work_of_their_layers() -> None:
    names = ("model.layers.1.mlp.up_proj.lora_a", "model.layers.1.mlp.up_proj.lora_b")
    checkpoint = tensors("model.layers.0.mlp.up_proj.lora_a", file="0000100_adapters.safetensors")
    adapter = source(
        *tensors(*names, file="adapters.safetensors"), *checkpoint, role="adapter.0", extra=("adapter_config.json",)
    )
    spec = variant(FOLDER, INT4, adapters=(Adapter(FolderSource(FOLDER, "."), 0.5),))
    blocks = {block.label: block for block in plan_weights(spec, BASE, (adapter,)).blocks}
    assert {label for label, block in blocks.items() if block != work()[label]} == {"001"}
    assert blocks["001"].parameters["adapters"][0]["scale"] == 0.5
    assert blocks["001"].weight_bytes == work()["001"].weight_bytes + 128
    assert set(blocks["001"].files) == {
        *work()["001"].files,
        *(file.blob.digest for file in adapter.files if not file.path.startswith("0")),
    }


def test_planning_loads_no_mlx() -> None:
    modules = "mlxbuild.toolchain.weights.plan, mlxbuild.toolchain.weights.configuration"
    program = f"import sys, {modules}; print('mlx' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
