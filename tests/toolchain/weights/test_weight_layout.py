"""What a source's config.json and tensor table make of its weights, before anything of them is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.spec.resolved import Adapter, FolderSource
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.formats.layout import Layout, layout_of
from mlxbuild.toolchain.weights.formats.packing import UnsupportedQuantization
from mlxbuild.toolchain.weights.reading import SourceTensor
from tests.toolchain.weights.block_builds import INT8, Quantization, variant

FOLDER = Path("model")
KEEP = Quantization("keep", None)
FILE = Digest.of_bytes(b"weights")


def table(**rows: tuple[str, tuple[int, ...]]) -> list[SourceTensor]:
    """Rows by name, `__` for a dot."""
    return [
        SourceTensor(name.replace("__", "."), dtype, shape, FILE, 8, 1) for name, (dtype, shape) in sorted(rows.items())
    ]


def laid_out(
    tensors: list[SourceTensor],
    quantization_config: Mapping[str, Any] | None = None,
    *,
    quantization: Quantization = KEEP,
    separate: Mapping[str, Any] | None = None,
    **config: Any,
) -> Layout:
    if quantization_config is not None:
        config["quantization_config"] = quantization_config
    documents = {"config.json": {"model_type": "llama", **config}, "hf_quant_config.json": separate}
    return layout_of(variant(FOLDER, quantization), tensors, documents.get)


def refusal(*args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(UnsupportedQuantization) as caught:
        laid_out(*args, **kwargs)
    return caught.value.message, caught.value.hint or ""


FOUR = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
GPTQ = table(q__qweight=("I32", (16, 64)), q__scales=("F16", (2, 64)), q__qzeros=("I32", (2, 8)))


def test_floats_are_no_reason_to_read_a_document() -> None:
    def unread(path: str) -> None:
        raise AssertionError(path)

    tensors = table(a__weight=("BF16", (4, 4)), position_ids=("I64", (1, 8)))
    assert layout_of(variant(FOLDER, INT8), tensors, unread) == Layout(tuple(tensors))


@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", "quanto", "aqlm", "auto-round", "torchao"])
def test_a_method_that_is_not_known_is_refused_by_name(method: str) -> None:
    message, hint = refusal(table(a__weight=("U8", (4, 4))), {"quant_method": method})
    assert message == f"the weights are quantized by `{method}`, which is not supported"
    assert "bfloat16" in hint


@pytest.mark.parametrize("dtype", ["I8", "U8", "I32"])
def test_integers_that_nothing_explains_are_refused(dtype: str) -> None:
    message, hint = refusal(table(a__weight=(dtype, (4, 4)), b__weight=("BF16", (4, 4))))
    assert message == (
        f"`a.weight` is stored as {dtype}, where a model computes with floats, and config.json has no "
        "`quantization_config` that says what the numbers mean"
    )
    assert hint.startswith("use the config.json that belongs to these weights")


def test_an_algorithm_that_is_not_known_is_refused_by_name() -> None:
    message, _ = refusal(table(a__weight=("U8", (4, 4))), {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"})
    assert message.endswith("the way of `modelopt` (W4A8_AWQ) to quantize cannot be taken over")


@pytest.mark.parametrize(
    ("tensors", "settings", "words"),
    [
        (GPTQ, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "in the form `marlin`"),
        (GPTQ, {"quant_method": "awq", "bits": 4, "version": "gemv"}, "in the form `gemv`"),
        (GPTQ, {"quant_method": "gptq", "bits": 5}, "to 5 bits by `gptq`"),
        (
            table(q__qweight=("I32", (16, 64)), q__scales=("F16", (8, 64))),
            {"quant_method": "gptq", "bits": 4},
            "in groups of 16",
        ),
        (
            [*GPTQ, *table(q__g_idx=("I32", (128,)))],
            {"quant_method": "gptq", "bits": 4, "desc_act": True},
            "with `desc_act`",
        ),
        (table(q__qweight=("I32", (16, 64))), {"quant_method": "gptq"}, "has no scales beside it"),
        (
            table(q__qweight=("I32", (16, 64)), q__scales=("F16", (2, 64)), q__qzeros=("I32", (3, 8))),
            {"quant_method": "gptq", "bits": 4},
            "`q.qzeros` (I32, shape [3, 8]) does not fit its scales",
        ),
        (
            table(q__qweight=("I32", (16, 64)), q__scales=("F16", (2, 64)), q__g_idx=("I32", (64,))),
            {"quant_method": "gptq", "bits": 4},
            "does not order the 128 columns of `q`",
        ),
        (
            table(
                a__weight_packed=("I32", (64, 16)),
                a__weight_scale=("BF16", (64, 2)),
                a__weight_zero_point=("I32", (64, 2)),
            ),
            FOUR,
            "`a.weight_zero_point` (I32, shape [64, 2]) does not fit its scales",
        ),
        (
            table(a__weight_packed=("I32", (8, 16)), a__weight_scale=("BF16", (8, 2)), a__weight_g_idx=("I32", (128,))),
            {"quant_method": "compressed-tensors"},
            "with `actorder: group`",
        ),
        (
            table(a__weight_packed=("I32", (64, 16)), a__weight_scale=("BF16", (64, 2))),
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 3}}}},
            "to 3 bits",
        ),
        (
            table(a__weight=("F8_E4M3", (256, 256)), a__weight_scale_inv=("F32", (3, 3))),
            {"quant_method": "fp8"},
            "scales no blocks of `a.weight`",
        ),
        (table(a__weight=("F8_E5M2", (4, 4))), None, "F8_E5M2"),
        (
            table(a__weight=("U8", (8, 32)), a__weight_scale=("F8_E4M3", (8, 4)), a__weight_scale_2=("F32", (2,))),
            {"quant_method": "modelopt", "quant_algo": "NVFP4"},
            "is not a single scale",
        ),
        (table(e__up_weight_scale=("F8_E4M3", (4, 4))), {"quant_method": "modelopt"}, "a form of `modelopt`"),
        (table(e__up_weight=("U8", (4, 4))), {"quant_method": "modelopt"}, "the way of `modelopt`"),
        (table(a__weight=("U8", (4, 4))), {"quant_method": "bitnet"}, "can only stay so"),
        (table(a_blocks=("U8", (4, 4))), {"quant_method": "mxfp4"}, "can only stay so"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_refused(
    tensors: list[SourceTensor], settings: Mapping[str, Any] | None, words: str
) -> None:
    only_kept = (settings or {}).get("quant_method") in ("bitnet", "mxfp4")
    message, hint = refusal(tensors, settings, quantization=INT8 if only_kept else KEEP)
    assert words in message
    assert hint


def test_a_gptq_matrix_is_three_tensors_and_an_entry() -> None:
    layout = laid_out(GPTQ, {"quant_method": "gptq", "bits": 4, "group_size": 64})
    assert [(each.name, each.dtype, each.shape) for each in layout.tensors] == [
        ("q.weight", "U32", (64, 16)),
        ("q.scales", "F32", (64, 2)),
        ("q.biases", "F32", (64, 2)),
    ]
    assert layout.config is not None
    assert layout.config["quantization"] == {"mode": "affine", "bits": 4, "group_size": 64}


def test_a_symmetric_one_keeps_its_scales_in_float16() -> None:
    layout = laid_out(GPTQ, {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True})
    assert {each.dtype for each in layout.tensors} == {"U32", "F16"}


def test_mxfp4_and_bitnet_stay_as_mlx_lm_takes_them() -> None:
    tensors = table(a_blocks=("U8", (4, 4)))
    layout = laid_out(tensors, {"quant_method": "mxfp4"})
    assert layout.tensors == tuple(tensors)
    assert layout.config is not None
    assert layout.config["quantization"] == {"mode": "mxfp4", "bits": 4, "group_size": 32}
    assert laid_out(table(a__weight=("U8", (4, 4))), {"quant_method": "bitnet"}).config is None


def test_modelopt_may_say_it_in_a_file_of_its_own() -> None:
    tensors = table(a__weight=("U8", (8, 32)), a__weight_scale=("F8_E4M3", (8, 4)), a__weight_scale_2=("F32", ()))
    separate = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    layout = laid_out(tensors, separate=separate)
    assert [(each.name, each.dtype) for each in layout.tensors] == [("a.weight", "U32"), ("a.scales", "U8")]


def test_what_stays_quantized_takes_no_adapter() -> None:
    adapter = Adapter(FolderSource(FOLDER, "adapter"))
    documents = {"config.json": {"quantization_config": {"quant_method": "gptq", "bits": 4}}}
    with pytest.raises(UnsupportedQuantization, match="an adapter can only be fused into floats") as caught:
        layout_of(variant(FOLDER, KEEP, adapters=(adapter,)), GPTQ, documents.get)
    assert (caught.value.hint or "").startswith("use the unquantized model; one of mlx-lm can be fused")


def test_scales_of_activations_are_dropped() -> None:
    tensors = table(a__weight=("F8_E4M3", (4, 4)), a__weight_scale=("F32", ()), a__input_scale=("F32", ()))
    layout = laid_out(tensors, {"quant_method": "modelopt", "quant_algo": "FP8"})
    assert [each.name for each in layout.tensors] == ["a.weight"]


LEAVES = [
    "weight", "qweight", "scales", "qzeros", "g_idx", "biases", "weight_packed", "weight_scale", "weight_zero_point",
    "weight_scale_inv", "weight_scale_2", "weight_global_scale",
]  # fmt: skip
DTYPES = ["F8_E4M3", "F8_E8M0", "F8_E5M2", "U8", "I8", "I32", "U32", "F16", "BF16", "F32", "I64"]
LENGTHS = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 256])
SETTINGS = ["quant_method", "bits", "group_size", "config_groups", "weight_block_size", "sym", "version"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 200) | st.sampled_from(["gptq", "awq", "fp8", "modelopt", "gemm"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["weights", "num_bits"]), inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"a.{leaf}" for leaf in LEAVES]),
        st.tuples(st.sampled_from(DTYPES), st.lists(LENGTHS, max_size=4).map(tuple)),
    ),
    st.none() | st.dictionaries(st.sampled_from(SETTINGS), ANYTHING),
    st.sampled_from([KEEP, INT8]),
)
def test_hostile_tables_are_laid_out_or_refused(
    rows: dict[str, tuple[str, tuple[int, ...]]], settings: dict[str, Any] | None, quantization: Quantization
) -> None:
    tensors = [SourceTensor(name, dtype, shape, FILE, 8, 1) for name, (dtype, shape) in sorted(rows.items())]
    try:
        layout = laid_out(tensors, settings, quantization=quantization)
    except UnsupportedQuantization:
        return
    names = [tensor.name for tensor in layout.tensors]
    assert len(names) == len(set(names))
    assert all(min(each.shape, default=1) >= 0 for each in layout.tensors if isinstance(each, DecodedTensor))


def test_no_layout_needs_mlx() -> None:
    code = "import sys, mlxbuild.toolchain.weights.plan; sys.exit('mlx.core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
