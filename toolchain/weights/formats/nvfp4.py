"""The layout of NVFP4 weights of ModelOpt and compressed-tensors: E2M1 numbers with group and tensor scales.

Each 16 numbers have an E4M3 scale, and the whole tensor has one more. Loads no MLX.

MLX's nvfp4 is the same without the per-tensor scale (its dense layers take none). So that scale is folded into the
others: exactly if each product is an E4M3 number, and rounded otherwise; the numbers under a rounded scale are then
rounded again. The error is measured and reported: normally distributed weights with deviations of 0.05 to 0.01 lose
3 to 9 %. So the accuracy is `rounded`, and more than 10 % is refused.
ModelOpt calls it `weight_scale_2` and multiplies by it, compressed-tensors `weight_global_scale` and divides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.formats.packing import FLOATS, Packing, RecognizedTensors, check_matrices, misfit
from mlxbuild.toolchain.weights.reading import SourceTensor

NVFP4: Final = QuantizationScheme("nvfp4", 4, 16)

_FORMS: Final = {"weight_scale_2": "weight", "weight_global_scale": "weight_packed"}
"""Last name component of the per-tensor scale to that of the packed numbers."""


def take_nvfp4(table: Mapping[str, SourceTensor], packing: Packing) -> RecognizedTensors:
    """Take every module whose packed bytes have scales of both kinds.

    Raises:
        UnsupportedQuantization: a tensor has another shape or dtype than expected.
    """
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    schemes: dict[str, QuantizationScheme] = {}
    for name, whole in table.items():
        module, _, leaf = name.rpartition(".")
        if leaf not in _FORMS:
            continue
        weight, scale = table.get(f"{module}.{_FORMS[leaf]}"), table.get(f"{module}.weight_scale")
        if weight is None or scale is None or weight.dtype != "U8":
            continue
        check_matrices(weight)
        *lead, half = weight.shape
        if math.prod(whole.shape) != 1 or whole.dtype not in FLOATS:
            raise misfit(whole, "is not a single scale")
        if half % 8 or scale.shape != (*lead, half // 8) or scale.dtype != "F8_E4M3":
            raise misfit(scale, f"does not scale groups of 16 of `{weight.name}`, of shape {list(weight.shape)}")
        used |= {weight.name, scale.name, whole.name}
        schemes[module] = NVFP4
        tensors += _decoded(module, weight, scale, whole, packing)
    return RecognizedTensors(tuple(tensors), frozenset(used), schemes)


def _decoded(
    module: str, weight: SourceTensor, scale: SourceTensor, whole: SourceTensor, packing: Packing
) -> tuple[DecodedTensor, ...]:
    *lead, half = weight.shape
    parameters = {"divides": whole.name.endswith("weight_global_scale")}
    parts = {"weight": weight, "scale": scale, "whole": whole}
    if packing.dense:
        return (DecodedTensor(f"{module}.weight", packing.dtype, (*lead, half * 2), "nvfp4-dense", parameters, parts),)
    return (
        DecodedTensor(f"{module}.weight", "U32", (*lead, half // 4), "nvfp4-weight-2", parameters, parts),
        DecodedTensor(f"{module}.scales", "U8", scale.shape, "nvfp4-scales-2", parameters, parts),
    )
