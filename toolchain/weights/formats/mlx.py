"""The layout of weights that MLX itself has quantized, where a variant wants them as floats. Loads no MLX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolchain.weights.decoded import DecodedTensor, ModelTensor
from toolchain.weights.formats.entry import scheme_of
from toolchain.weights.formats.packing import (
    Packing,
    Taken,
    UnsupportedQuantization,
    check_matrices,
    misfit,
    modules_with,
    triple,
)
from toolchain.weights.reading import SourceTensor


def is_quantized_by_mlx(table: Mapping[str, SourceTensor]) -> bool:
    """Whether there are packed weights with scales, under the names that MLX gives them."""
    return any(_is_packed(table, module) for module in modules_with(table, "scales"))


def take_mlx(table: Mapping[str, SourceTensor], entry: Mapping[str, Any], packing: Packing) -> Taken:
    """Every packed module as floats.

    Args:
        table: All tensors.
        entry: `quantization` of config.json.
        packing: Wants floats.

    Raises:
        UnsupportedQuantization: the entry does not say how a module is quantized.
    """
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    for module in modules_with(table, "scales"):
        if not _is_packed(table, module):
            continue
        weight = table[f"{module}.weight"]
        check_matrices(weight, table[f"{module}.scales"])
        scheme = scheme_of(entry, module)
        if scheme is None:
            raise misfit(weight, "is quantized, but the `quantization` of config.json does not say how")
        if f"{module}.global_scale" in table:
            raise UnsupportedQuantization(
                f"`{module}` has a `global_scale`, so it can only stay as it is",
                hint="set `quantization: keep`, or give the unquantized model",
            )
        parts = {
            leaf: table[f"{module}.{leaf}"] for leaf in ("weight", "scales", "biases") if f"{module}.{leaf}" in table
        }
        used |= {tensor.name for tensor in parts.values()}
        stored = [
            DecodedTensor(part.name, part.dtype, part.shape, "stored", {}, {leaf: part}) for leaf, part in parts.items()
        ]
        tensors += triple(module, scheme, packing, *stored)
    return Taken(tuple(tensors), frozenset(used))


def _is_packed(table: Mapping[str, SourceTensor], module: str) -> bool:
    weight = table.get(f"{module}.weight")
    return weight is not None and weight.dtype == "U32"
