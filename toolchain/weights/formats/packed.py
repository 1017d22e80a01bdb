"""The layout of compressed-tensors' packed integers, its plain int8, and its MXFP4. Loads no MLX.

`pack-quantized` packs along the inputs as MLX does, with 2^(bits-1) added to each number; zeros of an asymmetric one
are packed along the outputs. `int-quantized` is not packed at all. Both are affine. `mxfp4-pack-quantized` is MLX's
mxfp4 under other names.
"""

from __future__ import annotations

import math
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

MXFP4: Final = QuantizationScheme("mxfp4", 4, 32)
_LEAVES: Final = ("weight", "weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")


def take_packed(table: Mapping[str, SourceTensor], packing: Packing) -> RecognizedTensors:
    """Take every module with a `weight_packed`, or with a `weight` of I8 that has scales.

    Raises:
        UnsupportedQuantization: a width, order or grouping that MLX does not support.
    """
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    schemes: dict[str, QuantizationScheme] = {}
    plain = {each.removesuffix(".weight") for each, tensor in table.items() if _is_int8(each, tensor, table)}
    for module in sorted({*modules_with(table, "weight_packed"), *plain}):
        parts = {leaf: table[f"{module}.{leaf}"] for leaf in _LEAVES if f"{module}.{leaf}" in table}
        check_matrices(parts["weight" if module in plain else "weight_packed"])
        if "weight_scale" not in parts:
            raise misfit(parts["weight_packed"], "has no scales beside it")
        used |= {tensor.name for tensor in parts.values()}
        if "weight_g_idx" in parts:
            raise UnsupportedQuantization(
                f"`{module}` is quantized by `compressed-tensors` with `actorder: group`: columns of a group lie apart",
                where="config.json",
                hint="use a model quantized with another `actorder`, or the unquantized model",
            )
        if module in plain:
            schemes[module], decoded = _integers(module, parts, 8, "int8-weight", parts["weight"], packing)
        elif parts["weight_packed"].dtype == "U8":
            schemes[module], decoded = _mxfp4(module, parts, packing)
        else:
            schemes[module], decoded = _integers(
                module, parts, _bits(packing), "stored", parts["weight_packed"], packing
            )
        tensors += decoded
    return RecognizedTensors(tuple(tensors), frozenset(used), schemes)


def _is_int8(name: str, tensor: SourceTensor, table: Mapping[str, SourceTensor]) -> bool:
    return name.endswith(".weight") and tensor.dtype == "I8" and f"{name}_scale" in table


def _bits(packing: Packing) -> int:
    widths = {str(each.get("num_bits")) for each in packing.groups}
    if packing.method != "compressed-tensors" or not widths or "None" in widths:
        raise UnsupportedQuantization(
            "the weights are packed as compressed-tensors packs them (`weight_packed`), but config.json does not say "
            "of how many bits (`config_groups`, `num_bits`)",
            where="config.json",
            hint="use the config.json that belongs to these weights",
        )
    if len(widths) > 1 or not widths <= {"4", "8"}:
        raise UnsupportedQuantization(
            f"the weights are quantized by `compressed-tensors` to {', '.join(sorted(widths))} bits",
            where="config.json",
            hint="use a model with one width, 4 or 8 bits, or the unquantized model",
        )
    return int(widths.pop())


def _strategies(packing: Packing) -> set[str]:
    return {str(each.get("strategy")) for each in packing.groups}


def _check_size(module: str, columns: int, size: int, bits: int, packing: Packing) -> None:
    """Refuse groups of another size than in config.json, which mean that the width of the numbers is wrong."""
    sizes = {each.get("group_size") for each in packing.groups if each.get("strategy", "group") == "group"}
    if not sizes or _strategies(packing) - {"group", "None"} or any(type(each) is not int for each in sizes):
        return
    if size not in sizes and columns > size:
        raise UnsupportedQuantization(
            f"`{module}` has groups of {size} if its numbers are of {bits} bits, as config.json says, but that says "
            f"`group_size: {packing.groups[0].get('group_size')}`",
            where="config.json",
            hint="use the config.json that belongs to these weights",
        )


def _integers(
    module: str,
    parts: Mapping[str, SourceTensor],
    bits: int,
    method: str,
    weight: SourceTensor,
    packing: Packing,
) -> tuple[QuantizationScheme, tuple[DecodedTensor, ...]]:
    scale = parts["weight_scale"]
    *lead, width = weight.shape
    columns = width if method == "int8-weight" else width * 32 // bits
    single = math.prod(scale.shape) == 1
    groups = 1 if single else scale.shape[-1]
    if not single and (len(weight.shape) != len(scale.shape) or scale.shape[:-1] != tuple(lead)):
        raise misfit(scale, f"does not fit `{weight.name}`, whose shape is {list(weight.shape)}")
    if scale.dtype not in FLOATS or not groups or columns % groups:
        raise misfit(scale, f"scales no groups of `{weight.name}`, whose shape is {list(weight.shape)}")
    if single and math.prod(lead) > 1 and packing.groups and not _strategies(packing) & {"tensor", "None"}:
        raise misfit(scale, f"is one for all rows of `{weight.name}`, and config.json says one for each")
    size = columns // groups
    _check_size(module, columns, size, bits, packing)
    group_size = group_of(columns, size)
    if group_size is None:
        raise UnsupportedQuantization(
            f"`{module}` is quantized by `compressed-tensors` in groups of {size}, but MLX only has 32, 64 and 128",
            where="config.json",
            hint="use the unquantized model",
        )
    zero = parts.get("weight_zero_point")
    if zero is not None and (zero.dtype != "I32" or method == "int8-weight" or len(weight.shape) != 2):
        raise misfit(zero, "is not a zero point as `pack-quantized` packs them")
    if zero is not None and (zero.shape != (-(-lead[0] * bits // 32), groups) or single):
        raise misfit(zero, f"does not fit its scales, whose shape is {list(scale.shape)}")
    if zero is None and packing.groups and all(each.get("symmetric") is False for each in packing.groups):
        raise misfit(weight, "has no zero points beside it, and config.json says `symmetric: false`")
    dtype = scale.dtype if zero is None else "F32"
    shape = (*lead, columns // group_size)
    repeated: dict[str, Any] = {"repeat": size // group_size, "single": single}
    zeros = {} if zero is None else {"zero": zero}
    scheme = QuantizationScheme("affine", bits, group_size)
    return scheme, triple(
        module,
        scheme,
        packing,
        DecodedTensor(f"{module}.weight", "U32", (*lead, columns * bits // 32), method, {}, {"weight": weight}),
        DecodedTensor(f"{module}.scales", dtype, shape, "packed-scales", repeated, {"scale": scale}),
        DecodedTensor(
            f"{module}.biases", dtype, shape, "packed-biases", {**repeated, "bits": bits}, {"scale": scale, **zeros}
        ),
    )


def _mxfp4(
    module: str, parts: Mapping[str, SourceTensor], packing: Packing
) -> tuple[QuantizationScheme, tuple[DecodedTensor, ...]]:
    weight, scale = parts["weight_packed"], parts["weight_scale"]
    *lead, half = weight.shape
    if half % 16 or scale.shape != (*lead, half // 16) or scale.dtype not in ("U8", "F8_E8M0"):
        raise misfit(scale, f"does not scale groups of 32 of `{weight.name}`, of shape {list(weight.shape)}")
    return MXFP4, triple(
        module,
        MXFP4,
        packing,
        DecodedTensor(f"{module}.weight", "U32", (*lead, half // 4), "stored", {}, {"weight": weight}),
        DecodedTensor(f"{module}.scales", "U8", scale.shape, "stored", {}, {"scale": scale}),
    )
