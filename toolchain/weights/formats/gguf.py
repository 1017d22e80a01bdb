"""Decodes tensors of GGUF files, either into MLX's quantized form or into numbers."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import numpy as np

from mlxbuild.registry.core.errors import StepError
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.formats.decoding import Decoded, TensorParts
from mlxbuild.toolchain.weights.formats.gguf_blocks import (
    EXACT,
    Bytes,
    Floats,
    Groups,
    mxfp4,
    packed,
    plain,
    take_apart,
)
from mlxbuild.toolchain.weights.formats.gguf_layout import FORMS, GROUP_SIZE
from mlxbuild.toolchain.weights.formats.gguf_narrowing import narrowed

_NO_EXPONENT = 255
"""NaN in this format; it does not occur in valid files."""


class UnreadableBlocks(StepError):
    """Blocks of a GGUF file contain NaN, infinity or other invalid values."""

    code = "unreadable-blocks"


def rows_of_weight(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The packed numbers of a matrix that stays quantized."""
    kind, rows = tensor.parameters["type"], _blocks(tensor, parts, begin, end)
    if kind in EXACT:
        return Decoded(mx.array(packed(take_apart(rows, kind).numbers, FORMS[kind].bits)))
    if kind == "MXFP4":
        return Decoded(mx.array(packed(mxfp4(rows)[0], 4)))
    return Decoded(mx.array(packed(_near(rows, kind).numbers, FORMS[kind].bits)), "near")


def rows_of_scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The scales of a matrix that stays quantized."""
    rows = _blocks(tensor, parts, begin, end)
    if tensor.parameters["type"] != "MXFP4":
        return _affine(tensor, rows, 0)
    exponents = mxfp4(rows)[1]
    if (exponents == _NO_EXPONENT).any():
        raise UnreadableBlocks(f"`{tensor.name}` holds a scale that is not a number", hint="get the file again")
    return Decoded(mx.array(exponents))


def rows_of_biases(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The biases of a matrix that stays quantized."""
    return _affine(tensor, _blocks(tensor, parts, begin, end), 1)


def _affine(tensor: DecodedTensor, rows: Bytes, which: int) -> Decoded:
    """Scales (0) or biases (1); exact if their dtype can hold them."""
    kind = tensor.parameters["type"]
    groups = take_apart(rows, kind) if kind in EXACT else _near(rows, kind)
    if tensor.dtype not in ("F32", FORMS[kind].scales):
        return Decoded(mx.array(narrowed(groups, tensor.dtype)[which]).view(MLX_DTYPES[tensor.dtype]), "near")
    held = _exactly((groups.scales, groups.biases)[which], tensor)
    return Decoded(held, "exact" if kind in EXACT else "near")


def rows_of_numbers(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The tensor as plain numbers."""
    kind, rows = tensor.parameters["type"], _blocks(tensor, parts, begin, end)
    numbers: Any = _numbers(rows, kind)
    offset = tensor.parameters.get("offset")
    if offset is not None:
        numbers = numbers.astype(np.float32) - np.float32(offset)
    return Decoded(mx.array(numbers).astype(MLX_DTYPES[tensor.dtype]))


def _blocks(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Bytes:
    """Rows of blocks as bytes; rows of heads that the converter interleaved are put back in order."""
    heads = tensor.parameters.get("permuted_heads")
    if heads is None:
        return _bytes(parts, begin, end)
    height = tensor.parts["blocks"].shape[0] // heads
    head, place = np.divmod(np.arange(begin, end), height)
    half, pair = np.divmod(place, height // 2)
    wanted = head * height + 2 * pair + half
    first = int(wanted.min())
    rows: Bytes = _bytes(parts, first, int(wanted.max()) + 1)[wanted - first]
    return rows


def _bytes(parts: TensorParts, begin: int, end: int) -> Bytes:
    rows: Bytes = np.array(parts.rows("blocks", begin, end))
    return rows


def _numbers(rows: Bytes, kind: str) -> Any:
    if kind in EXACT:
        groups = take_apart(rows, kind)
        scales, biases = (np.repeat(part, GROUP_SIZE, axis=-1) for part in (groups.scales, groups.biases))
        return scales * groups.numbers + biases
    if kind in ("F32", "F16", "BF16"):
        return plain(rows, kind)
    library = importlib.import_module("gguf")
    return library.quants.dequantize(rows, library.GGMLQuantizationType[kind])


def _near(rows: Bytes, kind: str) -> Groups:
    """Numbers on an 8-bit grid: the two scales of 16 numbers each become one for all 32."""
    numbers = mx.array(_numbers(rows, kind)).astype(mx.float16)
    weight, scales, biases = mx.quantize(numbers, GROUP_SIZE, FORMS[kind].bits)
    whole = np.array(weight).view(np.uint8).reshape(len(rows), -1)
    return Groups(whole, np.array(scales.astype(mx.float32)), np.array(biases.astype(mx.float32)))


def _exactly(values: Floats, tensor: DecodedTensor) -> mx.array:
    """Scales or biases in their stored dtype, which holds each of them exactly unless it is extremely large."""
    if tensor.dtype == "F32":
        return mx.array(values)
    with np.errstate(over="ignore"):
        stored = values.astype(np.float16)
    if not np.array_equal(stored.astype(np.float32), values):
        raise UnreadableBlocks(
            f"`{tensor.name}` holds a scale that is not a number, or is beyond all weights",
            hint="the file is damaged: get it again",
        )
    return mx.array(stored)
