"""The layout of GPTQ and AWQ weights: integers below a float scale and an integer zero. Loads no MLX.

Both are what MLX calls affine, with biases of -zero x scale. GPTQ (AutoGPTQ, GPTQModel) packs `qweight` along the
inputs, (inputs x bits / 32, outputs); AWQ (AutoAWQ, `version: gemm`) along the outputs in an order of its own, (inputs,
outputs / 8), which is all that `mlx_lm.utils._transform_awq_weights` reads, under both names. Shapes tell them apart.
Where zeros differ from group to group, -zero x scale needs more bits than float16 has: then scales and biases are
float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from toolchain.spec.resolved import QuantizationScheme
from toolchain.weights.decoded import DecodedTensor, ModelTensor
from toolchain.weights.formats.packing import (
    FLOATS,
    Packing,
    Taken,
    UnsupportedQuantization,
    check_matrices,
    group_of,
    misfit,
    modules_with,
    triple,
)
from toolchain.weights.reading import SourceTensor

_FORMS: Final = {None: 1, "gptq": 1, "gptq_v2": 0}
"""`checkpoint_format` to what is to be added to its zeros."""


def take_gptq(table: Mapping[str, SourceTensor], packing: Packing) -> Taken:
    """Every module with a `qweight`.

    Raises:
        UnsupportedQuantization: a form, width or grouping that MLX has nothing like.
    """
    modules = modules_with(table, "qweight")
    if not modules:
        return Taken()
    _check_form(packing)
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    scheme = None
    for module in modules:
        leaves = {leaf: table.get(f"{module}.{leaf}") for leaf in ("qweight", "qzeros", "scales", "g_idx")}
        parts = {leaf: tensor for leaf, tensor in leaves.items() if tensor is not None}
        used |= {tensor.name for tensor in parts.values()}
        scheme, decoded = _decoded(module, parts, packing)
        tensors += decoded
    return Taken(tuple(tensors), frozenset(used), scheme)


def _check_form(packing: Packing) -> None:
    method, settings = packing.method, packing.settings
    form = settings.get("checkpoint_format") if method == "gptq" else settings.get("version", "gemm")
    known = form is None or form in list(_FORMS) if method == "gptq" else str(form).lower() == "gemm"
    if not known or settings.get("is_marlin_format"):
        raise UnsupportedQuantization(
            f"the weights are quantized by `{method}` in the form `{form if not known else 'marlin'}`",
            where="config.json",
            hint="give the model in the form `gptq` or `gemm`, or unquantized",
        )


def _decoded(
    module: str, parts: Mapping[str, SourceTensor], packing: Packing
) -> tuple[QuantizationScheme | None, tuple[DecodedTensor, ...]]:
    if "scales" not in parts:
        raise misfit(parts["qweight"], "has no scales beside it")
    weight, scales = parts["qweight"], parts["scales"]
    check_matrices(weight, scales)
    if len(weight.shape) != 2 or len(scales.shape) != 2 or weight.dtype != "I32" or scales.dtype not in FLOATS:
        raise misfit(weight, "is not packed as GPTQ and AWQ pack")
    written = packing.settings.get("bits", 4)
    bits = written if type(written) is int else 0
    groups, outputs = scales.shape
    is_awq = weight.shape[1] * 32 == outputs * bits and weight.shape[1] != outputs
    inputs = weight.shape[0] if is_awq else weight.shape[0] * 32 // bits if bits in (2, 3, 4, 8) else 0
    if bits not in ((4,) if is_awq else (2, 3, 4, 8)):
        raise UnsupportedQuantization(
            f"the weights are quantized to {written} bits by `{packing.method}`, which cannot be taken over",
            where="config.json",
            hint="give a model of 4 bits, or the unquantized model",
        )
    if not groups or inputs % groups or outputs * bits % 32 or not (is_awq or weight.shape[1] == outputs):
        raise misfit(weight, f"does not fit its scales, whose shape is {list(scales.shape)}")
    zeros_shape = (groups, outputs * bits // 32)
    if "qzeros" in parts and (parts["qzeros"].dtype != "I32" or parts["qzeros"].shape != zeros_shape):
        raise misfit(parts["qzeros"], f"does not fit its scales, whose shape is {list(scales.shape)}")
    if "g_idx" in parts and (parts["g_idx"].dtype not in ("I32", "I64") or parts["g_idx"].shape != (inputs,)):
        raise misfit(parts["g_idx"], f"does not order the {inputs} columns of `{module}`")
    size = inputs // groups
    zeros = {
        "bits": bits,
        "add": _FORMS[packing.settings.get("checkpoint_format")] if packing.method == "gptq" and not is_awq else 0,
        "awq": is_awq,
    }
    if packing.dense and not is_awq:  # in any order of columns, and groups of any size
        dense = {**zeros, "size": size}
        return None, (DecodedTensor(f"{module}.weight", packing.dtype, (outputs, inputs), "gptq-dense", dense, parts),)
    group_size = group_of(inputs, size)
    if group_size is None:
        raise UnsupportedQuantization(
            f"`{module}` is quantized by `{packing.method}` in groups of {size}, and MLX has none but 32, 64 and 128",
            where="config.json",
            hint="ask for `quantization: bf16`, which decodes them, or give the unquantized model",
        )
    if packing.settings.get("desc_act") and groups > 1 and "g_idx" in parts:
        raise UnsupportedQuantization(
            f"the weights are quantized by `{packing.method}` with `desc_act`: columns of one group lie apart",
            where="config.json",
            hint="ask for `quantization: bf16`, which decodes them, or give a model quantized without `desc_act`",
        )
    symmetric = "qzeros" not in parts or packing.settings.get("sym") is True
    dtype = scales.dtype if symmetric else "F32"
    repeated = {"repeat": size // group_size, "size": size}
    shape = (outputs, inputs // group_size)
    scaled = _with(parts, "scales", "g_idx")
    kind = "awq" if is_awq else "gptq"
    packed = (outputs, inputs * bits // 32)
    scheme = QuantizationScheme("affine", bits, group_size)
    return scheme, triple(
        module,
        scheme,
        packing,
        DecodedTensor(f"{module}.weight", "U32", packed, f"{kind}-weight", {}, {"qweight": weight}),
        DecodedTensor(f"{module}.scales", dtype, shape, "gptq-scales", repeated, scaled),
        DecodedTensor(
            f"{module}.biases", dtype, shape, "gptq-biases", {**zeros, **repeated}, _with(parts, "scales", "qzeros")
        ),
    )


def _with(parts: Mapping[str, SourceTensor], *names: str) -> dict[str, SourceTensor]:
    return {name: parts[name] for name in names if name in parts}
