"""The layout of GPTQ and AWQ weights: integers with a float scale and an integer zero per group.

Both are MLX's affine form, with biases of -zero x scale. GPTQ (AutoGPTQ, GPTQModel) packs `qweight` along the
inputs, (inputs x bits / 32, outputs); AWQ (AutoAWQ, `version: gemm`) along the outputs in an order of its own, (inputs,
outputs / 8), which is all that `mlx_lm.utils._transform_awq_weights` reads, under both names. Shapes tell them apart.
If zeros differ between groups, -zero x scale needs more bits than float16 has: then scales and biases are
float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.formats.packing import (
    FLOATS,
    Packing,
    RecognizedTensors,
    UnsupportedQuantization,
    check_matrices,
    group_of,
    misfit,
    modules_with,
    triple,
)
from mlxbuild.toolchain.weights.reading import SourceTensor

_WIDTHS: Final = (2, 3, 4, 8)
_METHODS: Final = ("gptq", "awq")
_FORMS: Final = {None: 1, "gptq": 1, "gptq_v2": 0}
"""`checkpoint_format` to the number that must be added to its zeros."""


def take_gptq(table: Mapping[str, SourceTensor], packing: Packing) -> RecognizedTensors:
    """Take every module with a `qweight`.

    Raises:
        UnsupportedQuantization: a form, width or grouping that MLX does not support.
    """
    modules = modules_with(table, "qweight")
    if not modules:
        return RecognizedTensors()
    if packing.method not in _METHODS:
        said = "nothing says how" if packing.method is None else f"config.json names `{packing.method}`"
        raise UnsupportedQuantization(
            f"the weights are packed as GPTQ and AWQ pack them (`{modules[0]}.qweight`), but {said}",
            where="config.json",
            hint="use the config.json or quantize_config.json that was written beside these weights",
        )
    _check_form(packing)
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    schemes: dict[str, QuantizationScheme] = {}
    for module in modules:
        leaves = {leaf: table.get(f"{module}.{leaf}") for leaf in ("qweight", "qzeros", "scales", "g_idx")}
        parts = {leaf: tensor for leaf, tensor in leaves.items() if tensor is not None}
        used |= {tensor.name for tensor in parts.values()}
        scheme, decoded = _decoded(module, parts, packing)
        if scheme is not None:
            schemes[module] = scheme
        tensors += decoded
    return RecognizedTensors(tuple(tensors), frozenset(used), schemes)


def _check_form(packing: Packing) -> None:
    method, settings = packing.method, packing.settings
    form = settings.get("checkpoint_format") if method == "gptq" else settings.get("version", "gemm")
    known = form is None or form in list(_FORMS) if method == "gptq" else str(form).lower() == "gemm"
    if not known or settings.get("is_marlin_format"):
        raise UnsupportedQuantization(
            f"the weights are quantized by `{method}` in the form `{form if not known else 'marlin'}`",
            where="config.json",
            hint="use the model in the form `gptq` or `gemm`, or unquantized",
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
    groups, outputs = scales.shape
    bits = _bits(module, parts, packing)
    is_awq = weight.shape[1] * 32 == outputs * bits and weight.shape[1] != outputs
    if packing.method == "awq" and not is_awq:
        raise misfit(weight, "is not packed along the outputs, as `awq` of config.json means")
    inputs = weight.shape[0] if is_awq else weight.shape[0] * 32 // bits if bits in _WIDTHS else 0
    if bits not in ((4,) if is_awq else _WIDTHS):
        raise UnsupportedQuantization(
            f"the weights are quantized to {bits} bits by `{packing.method}`, which is not supported",
            where="config.json",
            hint="use a model of 4 bits, or the unquantized model",
        )
    if not groups or inputs % groups or outputs * bits % 32 or not (is_awq or weight.shape[1] == outputs):
        raise misfit(weight, f"does not fit its scales, whose shape is {list(scales.shape)}")
    zeros_shape = (groups, outputs * bits // 32)
    if "qzeros" in parts and (parts["qzeros"].dtype != "I32" or parts["qzeros"].shape != zeros_shape):
        raise misfit(parts["qzeros"], f"does not fit its scales, whose shape is {list(scales.shape)}")
    if "g_idx" in parts and (parts["g_idx"].dtype not in ("I32", "I64") or parts["g_idx"].shape != (inputs,)):
        raise misfit(parts["g_idx"], f"does not order the {inputs} columns of `{module}`")
    if "qzeros" not in parts and not _needs_no_zeros(packing):
        raise misfit(weight, "has no zeros (`qzeros`) beside it, and config.json says that they differ")
    size = inputs // groups
    if "qzeros" not in parts:
        _check_size(module, size, groups, bits, packing)
    zeros = {
        "bits": bits,
        "add": _FORMS[packing.settings.get("checkpoint_format")] if packing.method == "gptq" and not is_awq else 0,
        "awq": is_awq,
    }
    if packing.dense and not is_awq:  # any order of columns and any group size
        dense = {**zeros, "size": size}
        return None, (DecodedTensor(f"{module}.weight", packing.dtype, (outputs, inputs), "gptq-dense", dense, parts),)
    group_size = group_of(inputs, size)
    if group_size is None:
        raise UnsupportedQuantization(
            f"`{module}` is quantized by `{packing.method}` in groups of {size}, but MLX only has 32, 64 and 128",
            where="config.json",
            hint="ask for `quantization: bf16`, which decodes them, or use the unquantized model",
        )
    if packing.settings.get("desc_act") and groups > 1 and "g_idx" in parts:
        raise UnsupportedQuantization(
            f"the weights are quantized by `{packing.method}` with `desc_act`: columns of one group lie apart",
            where="config.json",
            hint="ask for `quantization: bf16`, which decodes them, or use a model quantized without `desc_act`",
        )
    symmetric = "qzeros" not in parts or _said(packing, "sym") == [True]
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


def _said(packing: Packing, *names: str) -> list[Any]:
    """The values of some keys in config.json, first for all modules and then for single ones (`dynamic`)."""
    settings, dynamic = packing.settings, packing.settings.get("dynamic")
    single = [each for each in dynamic.values() if isinstance(each, dict)] if isinstance(dynamic, dict) else []
    return [each[name] for each in (settings, *single) for name in names if name in each]


def _bits(module: str, parts: Mapping[str, SourceTensor], packing: Packing) -> int:
    """The width of a module's numbers: that of its zeros, if config.json has it, or the only one in config.json.

    `dynamic` assigns other widths to modules by GPTQModel's regular expressions, which the shapes make unnecessary.
    """
    widths = [each for each in _said(packing, "bits", "w_bit") if type(each) is int]
    if not widths:
        written = packing.settings.get("bits")
        said = (
            "not of how many `bits`" if written is None else f"`bits` is {written!r:.80}, which is not a whole number"
        )
        raise UnsupportedQuantization(
            f"config.json names `{packing.method}`, but {said}",
            where="config.json",
            hint="use the config.json or quantize_config.json that was written beside these weights",
        )
    if strange := [each for each in widths if each not in _WIDTHS]:
        return strange[0]
    zeros, outputs = parts.get("qzeros"), parts["scales"].shape[1]
    if zeros is None or len(zeros.shape) != 2 or not outputs or zeros.shape[1] * 32 % outputs:
        if len(set(widths)) > 1:
            raise misfit(
                parts["qweight"], f"is of {' or '.join(map(str, sorted(set(widths))))} bits, and no zeros tell"
            )
        return widths[0]
    actual = zeros.shape[1] * 32 // outputs
    if actual in widths or actual not in _WIDTHS:  # zeros of a wrong shape are reported elsewhere
        return actual if actual in widths else widths[0]
    raise UnsupportedQuantization(
        f"`{module}` is of {actual} bits by the shape of its zeros, but config.json says {widths[0]}",
        where="config.json",
        hint="use the config.json that was written beside these weights",
    )


def _needs_no_zeros(packing: Packing) -> bool:
    """Whether the zero of all groups is half of the range."""
    return False not in _said(packing, "sym") if packing.method == "gptq" else _said(packing, "zero_point") == [False]


def _check_size(module: str, size: int, groups: int, bits: int, packing: Packing) -> None:
    """Refuse groups of another size than in config.json, which mean that the width of the numbers is wrong."""
    sizes = [each for each in _said(packing, "group_size", "q_group_size") if type(each) is int]
    if sizes and size not in sizes and not (groups == 1 and (-1 in sizes or size < max(sizes))):
        raise UnsupportedQuantization(
            f"`{module}` has groups of {size} if its numbers are of {bits} bits, but config.json says "
            f"`group_size: {sizes[0]}`",
            where="config.json",
            hint="use the config.json that was written beside these weights",
        )


def _with(parts: Mapping[str, SourceTensor], *names: str) -> dict[str, SourceTensor]:
    return {name: parts[name] for name in names if name in parts}
