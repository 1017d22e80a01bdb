"""The layout of FP8 weights (E4M3): without a scale, or with one per tensor, row, group or block.

DeepSeek, Qwen and MiniMax write `weight_scale_inv` for blocks of 128 x 128 (`quant_method: fp8`), Mistral a single one;
compressed-tensors (`float-quantized`), ModelOpt and FBGEMM write `weight_scale`, Mistral's own files `qscale_weight`.
All of them multiply, `inv` or not. If the scales are powers of two for whole groups of 32, this is MLX's mxfp8, and
is kept; otherwise MLX has no such format, and the weights are converted to floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.formats.packing import (
    FLOATS,
    Packing,
    RecognizedTensors,
    UnsupportedQuantization,
    check_matrices,
    misfit,
    triple,
)
from mlxbuild.toolchain.weights.reading import SourceTensor

MXFP8: Final = QuantizationScheme("mxfp8", 8, 32)

_E4M3: Final = "F8_E4M3"
_SCALES: Final = ("weight_scale_inv", "weight_scale", "qscale_weight", "scale_weight")
"""Names of the scale of `x.weight` after `x.`; for a tensor without that ending, suffixes of its name."""
_ENDINGS: Final = ("scale", "scale_inv", "scale_2")
_EXPONENTS: Final = ("F8_E8M0", "U8")


def take_fp8(table: Mapping[str, SourceTensor], packing: Packing) -> RecognizedTensors:
    """Take every E4M3 tensor that no other format has taken, and its scale.

    Raises:
        UnsupportedQuantization: the shape of a scale is not supported, or numbers are E5M2.
    """
    tensors: list[ModelTensor] = []
    used: set[str] = set()
    schemes: dict[str, QuantizationScheme] = {}
    scaled = _scaled(table, packing)
    for name, tensor in table.items():
        if tensor.dtype == "F8_E5M2":
            raise UnsupportedQuantization(
                f"`{name}` is stored as F8_E5M2, which is not supported",
                hint="use the model in bfloat16, or as F8_E4M3",
            )
        if tensor.dtype != _E4M3 and not (packing.method == "mxfp8" and _is_bytes(tensor)):
            continue
        if name.endswith(_ENDINGS):
            raise misfit(tensor, f"is a scale of a form of `{packing.method}` that is not supported")
        scale = _scale_of(name, table)
        used.add(name)
        if scale is None:
            if scaled is not None:
                raise misfit(tensor, f"has no scale beside it, and {scaled}")
            tensors.append(DecodedTensor(name, packing.dtype, tensor.shape, "fp8-plain", {}, {"weight": tensor}))
            continue
        used.add(scale.name)
        rows, block = _scaling(tensor, scale, packing)
        scale = _as_matrix(scale, tensor, block)
        if scale.dtype in _EXPONENTS and name.endswith(".weight") and not block[1] % 32 and not tensor.shape[-1] % 32:
            module = name.removesuffix(".weight")
            schemes[module] = MXFP8
            tensors += _mxfp8(module, tensor, scale, rows, block, packing)
        else:
            tensors.append(_dense(tensor, scale, rows, block, packing))
    return RecognizedTensors(tuple(tensors), frozenset(used), schemes)


def _scaled(table: Mapping[str, SourceTensor], packing: Packing) -> str | None:
    """What says that numbers have scales; None if nothing does."""
    if packing.method is not None:
        return f"config.json says that `{packing.method}` has quantized it"
    scales = (_scale_of(name, table) for name, tensor in table.items() if tensor.dtype == _E4M3)
    first = next((scale for scale in scales if scale is not None), None)
    return None if first is None else f"others have one, such as `{first.name}`"


def _is_bytes(tensor: SourceTensor) -> bool:
    return tensor.dtype == "U8" and tensor.name.endswith(".weight") and len(tensor.shape) > 1


def _scale_of(name: str, table: Mapping[str, SourceTensor]) -> SourceTensor | None:
    module, _, leaf = name.rpartition(".")
    names = [f"{module}.{scale}" for scale in _SCALES] if leaf == "weight" else []
    for candidate in (*names, f"{name}_scale_inv", f"{name}_scale"):
        if candidate in table:
            return table[candidate]
    return None


def _scaling(tensor: SourceTensor, scale: SourceTensor, packing: Packing) -> tuple[int, tuple[int, int]]:
    """The number of rows after which blocks start again (those of one expert), and rows and columns of a block."""
    if scale.dtype not in FLOATS and scale.dtype not in _EXPONENTS:
        raise misfit(scale, "is not a scale")
    check_matrices(tensor)
    *lead, rows, columns = tensor.shape
    experts, count = math.prod(lead), math.prod(scale.shape)
    height, width = _block_of(packing)
    in_blocks = (*lead, math.ceil(rows / height), math.ceil(columns / width))
    if _is_in_blocks(packing) and count < math.prod(in_blocks):
        raise misfit(scale, f"does not scale the blocks of {height} x {width} of `{tensor.name}`: {list(in_blocks)}")
    if count == 1:
        return experts * rows, (experts * rows, columns)
    if count == experts and scale.shape[: len(lead)] == tuple(lead):
        return rows, (rows, columns)
    if count == experts * rows and scale.shape in (tensor.shape[:-1], (*tensor.shape[:-1], 1)):
        return rows, (1, columns)
    if len(scale.shape) == len(tensor.shape) and scale.shape[:-2] == tuple(lead):
        down, across = scale.shape[-2:]
        if (down, across) == (math.ceil(rows / height), math.ceil(columns / width)):
            return rows, (height, width)
        if down == rows and across and columns % across == 0:
            return rows, (1, columns // across)
    raise misfit(scale, f"scales no blocks of `{tensor.name}`, whose shape is {list(tensor.shape)}")


def _as_matrix(scale: SourceTensor, tensor: SourceTensor, block: tuple[int, int]) -> SourceTensor:
    """The scales with a row per row of blocks."""
    across = math.ceil(tensor.shape[-1] / block[1])
    return replace(scale, shape=(math.prod(scale.shape) // across, across))


def _is_in_blocks(packing: Packing) -> bool:
    every = packing.groups and all(each.get("block_structure") for each in packing.groups)
    return bool(packing.settings.get("weight_block_size") or every)


def _block_of(packing: Packing) -> tuple[int, int]:
    structures = (each.get("block_structure") for each in packing.groups)
    found = packing.settings.get("weight_block_size") or next(filter(None, structures), None)
    if isinstance(found, list) and len(found) == 2 and all(type(side) is int and side > 0 for side in found):
        return (found[0], found[1])
    return (128, 128)


def _dense(
    tensor: SourceTensor, scale: SourceTensor, rows: int, block: tuple[int, int], packing: Packing
) -> DecodedTensor:
    parameters = {"rows": rows, "block": list(block)}
    parts = {"weight": tensor, "scale": scale}
    return DecodedTensor(tensor.name, packing.dtype, tensor.shape, "fp8-scaled", parameters, parts)


def _mxfp8(
    module: str, tensor: SourceTensor, scale: SourceTensor, rows: int, block: tuple[int, int], packing: Packing
) -> tuple[DecodedTensor, ...]:
    lead, columns = tensor.shape[:-1], tensor.shape[-1]
    parameters = {"rows": rows, "block": list(block)}
    return triple(
        module,
        MXFP8,
        packing,
        DecodedTensor(f"{module}.weight", "U32", (*lead, columns // 4), "stored", {}, {"weight": tensor}),
        DecodedTensor(f"{module}.scales", "U8", (*lead, columns // 32), "mxfp8-scales", parameters, {"scale": scale}),
    )
