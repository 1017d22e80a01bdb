"""What a source says of its quantization is held to its tensor table, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mlxbuild.toolchain.core.lock import LockedSource, LockedTensor
from mlxbuild.toolchain.lock.settle import is_packed
from mlxbuild.toolchain.weights.formats.layout import layout_of
from mlxbuild.toolchain.weights.reading import SourceTensor
from tests.toolchain.weights.block_builds import variant
from tests.toolchain.weights.test_weight_layout import FOLDER, GPTQ, KEEP, laid_out, refusal, table

EIGHT = table(r__qweight=("I32", (32, 64)), r__scales=("F16", (2, 64)), r__qzeros=("I32", (2, 16)))
NO_ZEROS = table(q__qweight=("I32", (16, 64)), q__scales=("F16", (2, 64)))
PACKED = table(a__weight_packed=("I32", (64, 16)), a__weight_scale=("BF16", (64, 2)))
EXPERTS = table(
    x__experts__0__qweight=("I32", (16, 64)), x__experts__0__scales=("F16", (2, 64)),
    x__experts__0__qzeros=("I32", (2, 8)), x__experts__1__qweight=("I32", (16, 64)),
    x__experts__1__scales=("F16", (4, 64)), x__experts__1__qzeros=("I32", (4, 8)),
)  # fmt: skip


def compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


@pytest.mark.parametrize(
    ("tensors", "settings", "words"),
    [
        (GPTQ, None, "packed as GPTQ and AWQ pack them (`q.qweight`), but nothing says how"),
        (GPTQ, {"quant_method": "compressed-tensors"}, "but config.json names `compressed-tensors`"),
        (GPTQ, ["gptq"], "`quantization_config` is a list, and a mapping is wanted"),
        (GPTQ, "gptq", "`quantization_config` is a str, and a mapping is wanted"),
        (GPTQ, {"quant_method": "gptq"}, "names `gptq`, but not of how many `bits`"),
        (GPTQ, {"quant_method": "awq", "bits": 4}, "is not packed along the outputs"),
        (
            GPTQ, {"quant_method": "gptq", "bits": 8},
            "`q` is of 4 bits by the shape of its zeros, but config.json says 8",
        ),
        (
            NO_ZEROS,
            {"quant_method": "gptq", "bits": 8, "group_size": 64},
            "`q` has groups of 32 if its numbers are of 8 bits, but config.json says `group_size: 64`",
        ),
        (NO_ZEROS, {"quant_method": "gptq", "bits": 4, "sym": False}, "has no zeros (`qzeros`) beside it"),
        (
            table(q__qweight=("I32", (128, 8)), q__scales=("F16", (2, 64))),
            {"quant_method": "awq", "bits": 4, "zero_point": True},
            "has no zeros (`qzeros`) beside it",
        ),
        (EXPERTS, {"quant_method": "gptq", "bits": 4}, "the experts `x.experts.*` are quantized in more than one way"),
        (PACKED, compressed(num_bits=4, group_size=64, symmetric=False), "has no zero points beside it"),
        (PACKED, None, "does not say of how many bits"),
        (PACKED, {"quant_method": "compressed-tensors"}, "does not say of how many bits"),
        (GPTQ, {"quant_method": "gptq", "bits": "4"}, "but `bits` is '4', which is not a whole number"),
        (PACKED, compressed(num_bits=8, group_size=64), "has groups of 32 if its numbers are of 8 bits"),
        (
            table(a__weight=("I8", (64, 64)), a__weight_scale=("F32", (1, 1))),
            compressed(num_bits=8, strategy="channel"),
            "is one for all rows",
        ),
        (PACKED, {**compressed(num_bits=4), "transform_config": {"r1": {}}}, "with a `transform_config`"),
        (
            table(a__weight=("F8_E4M3", (256, 256))),
            {"quant_method": "fp8"},
            "has no scale beside it, and config.json says that `fp8` has quantized it",
        ),
        (
            table(
                a__weight=("F8_E4M3", (8, 8)), a__weight_scale=("F32", ()), b__weight=("F8_E4M3", (8, 8))
            ),
            None,
            "has no scale beside it, and others have one, such as `a.weight_scale`",
        ),
        (
            table(a__weight=("F8_E4M3", (256, 256)), a__weight_scale_inv=("F32", (1, 1))),
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            "does not scale the blocks of 128 x 128 of `a.weight`: [2, 2]",
        ),
    ],
)  # fmt: skip
def test_a_claim_that_the_tensors_do_not_bear_out_is_refused(
    tensors: list[SourceTensor], settings: Any, words: str
) -> None:
    message, hint = refusal(tensors, settings)
    assert words in message
    assert hint


@pytest.mark.parametrize(
    ("path", "settings", "add"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 64, "sym": True}, 1),
        ("quantize_config.json", {"bits": 4, "group_size": 64, "checkpoint_format": "gptq_v2"}, 0),
    ],
)
def test_older_tools_say_it_in_a_file_of_their_own(path: str, settings: Mapping[str, Any], add: int) -> None:
    documents: dict[str, Mapping[str, Any]] = {"config.json": {"model_type": "llama"}, path: settings}
    layout = layout_of(variant(FOLDER, KEEP), GPTQ, documents.get)
    (biases,) = (tensor for tensor in layout.tensors if tensor.name == "q.biases")
    assert getattr(biases, "parameters")["add"] == add  # noqa: B009


def test_modules_of_their_own_width_have_entries_of_their_own() -> None:
    layout = laid_out(
        sorted([*GPTQ, *EIGHT], key=lambda tensor: tensor.name),
        {"quant_method": "gptq", "bits": 4, "group_size": 64, "dynamic": {"+:r": {"bits": 8}}},
    )
    assert layout.config is not None
    assert layout.config["quantization"] == {
        "mode": "affine", "bits": 4, "group_size": 64, "r": {"mode": "affine", "bits": 8, "group_size": 64},
    }  # fmt: skip


def test_awq_says_it_in_a_file_of_its_own() -> None:
    tensors = table(
        q__qweight=("I32", (128, 8)), q__scales=("F16", (2, 64)), q__qzeros=("I32", (2, 8))
    )  # fmt: skip
    settings = {"w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"}
    documents: dict[str, Mapping[str, Any]] = {"config.json": {}, "quant_config.json": settings}
    layout = layout_of(variant(FOLDER, KEEP), tensors, documents.get)
    assert [tensor.name for tensor in layout.tensors] == ["q.weight", "q.scales", "q.biases"]


@pytest.mark.parametrize(
    ("name", "dtype", "packed"),
    [("a.weight_scale_inv", "F8_E8M0", True), ("a.weight_scale", "U8", True), ("a.weight_scale_inv", "F32", False)],
)
def test_fp8_under_exponents_is_kept_where_the_recipe_says_nothing(name: str, dtype: str, packed: bool) -> None:
    file = "model.safetensors"
    tensors = (
        LockedTensor("a.weight", "F8_E4M3", (32, 32), file, 8, 1024),
        LockedTensor(name, dtype, (1, 1), file, 1032, 4),
    )
    assert is_packed(LockedSource("base", "folder", "m", None, None, (), tensors)) is packed
