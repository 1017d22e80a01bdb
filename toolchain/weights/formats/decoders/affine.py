"""Decodes integers under float scales (GPTQ, AWQ, compressed-tensors) into MLX's affine form: q x scale + bias."""

from __future__ import annotations

import math
from typing import Any, Final

import mlx.core as mx

from mlxbuild.registry.core.errors import StepError
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.formats.decoders.bits import unpacked
from mlxbuild.toolchain.weights.formats.decoders.floats import cast
from mlxbuild.toolchain.weights.formats.decoding import Decoded, TensorParts

_AWQ_PLACES: Final = (0, 4, 1, 5, 2, 6, 3, 7)
"""The positions in a word of the eight outputs that AutoAWQ packs together."""


class ScatteredGroups(StepError):
    """The columns of a quantization group are not adjacent, which MLX cannot represent."""

    code = "scattered-groups"


def rows_of_gptq_weight(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Transpose a GPTQ weight, whose numbers are packed along the inputs in the same bit order as in MLX."""
    return Decoded(mx.contiguous(parts.columns("qweight", begin, end).view(mx.uint32).T))


def rows_of_awq_weight(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Repack an AWQ weight, which has eight outputs per word, along the inputs."""
    numbers = _from_awq(parts, "qweight", begin, end).T
    rows, inputs = numbers.shape
    words = numbers.reshape(rows, inputs // 8, 8) << (mx.arange(8, dtype=mx.uint32) * 4)
    return Decoded(words.sum(axis=-1).astype(mx.uint32))


def rows_of_gptq_scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Scales per group, repeated if MLX needs smaller groups. Parameters: `repeat`; `size` of the groups.

    Raises:
        ScatteredGroups: `g_idx` is not the natural order of columns.
    """
    if "g_idx" in tensor.parts:
        groups = parts.whole("g_idx").astype(mx.int32)
        if not mx.array_equal(groups, mx.arange(groups.size) // tensor.parameters["size"]).item():
            raise ScatteredGroups(
                f"`{tensor.parts['g_idx'].name}` orders columns in another way than config.json says",
                hint="use a model quantized without `desc_act`, or the unquantized model",
            )
    scales = _repeated(parts.columns("scales", begin, end).T, tensor.parameters["repeat"])
    return Decoded(scales.astype(MLX_DTYPES[tensor.dtype]))


def rows_of_gptq_floats(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """(q - zero) x scale, with each column's own group. Parameters: as for biases, and `size` of the groups."""
    bits, inputs = tensor.parameters["bits"], tensor.shape[-1]
    numbers = unpacked(parts.columns("qweight", begin, end).view(mx.uint32).T, bits).astype(mx.float32)
    scales = parts.columns("scales", begin, end).astype(mx.float32).T
    groups = mx.arange(inputs) // tensor.parameters["size"]
    if "g_idx" in tensor.parts:
        groups = parts.whole("g_idx").astype(mx.int32)
        if mx.any((groups < 0) | (groups >= scales.shape[1])).item():
            raise ScatteredGroups(f"`{tensor.parts['g_idx'].name}` names groups that there are not")
    centred = numbers - _gptq_zeros(tensor, parts, begin, end).T[:, groups]
    return _without_loss(cast(centred * scales[:, groups], MLX_DTYPES[tensor.dtype]), scales, bits + 1)


def rows_of_gptq_biases(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """-zero x scale. Parameters: `bits`; `add`, an offset missing in stored zeros; `awq`, their order; `repeat`."""
    scales = parts.columns("scales", begin, end).astype(mx.float32)
    products = (-_gptq_zeros(tensor, parts, begin, end) * scales).T
    biases = cast(_repeated(products, tensor.parameters["repeat"]), MLX_DTYPES[tensor.dtype])
    return _without_loss(biases, scales, tensor.parameters["bits"])


def _gptq_zeros(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> mx.array:
    """The zeros as float32, of shape (groups, end - begin)."""
    bits = tensor.parameters["bits"]
    if "qzeros" not in tensor.parts:
        return mx.full((tensor.parts["scales"].shape[0], end - begin), float(1 << (bits - 1)))
    if tensor.parameters["awq"]:
        return _from_awq(parts, "qzeros", begin, end).astype(mx.float32)
    stored = _packed_columns(parts, "qzeros", begin, end, bits)
    zeros: mx.array = (stored + tensor.parameters["add"]) & ((1 << bits) - 1)
    return zeros.astype(mx.float32)


def rows_of_int8_weight(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Signed bytes converted to unsigned ones by adding 128."""
    return Decoded((parts.rows("weight", begin, end).view(mx.uint8) ^ 0x80).view(mx.uint32))


def rows_of_packed_scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """Scales of compressed-tensors. Parameters: `repeat`; `single`, one scale for the whole tensor."""
    return Decoded(_packed_scales(tensor, parts, begin, end).astype(MLX_DTYPES[tensor.dtype]))


def rows_of_packed_biases(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """-zero x scale, where a missing zero is half of the range. Parameters: `bits`, and as above."""
    bits = tensor.parameters["bits"]
    scales = _packed_scales(tensor, parts, begin, end).astype(mx.float32)
    zeros: Any = 1 << (bits - 1)
    if "zero" in tensor.parts:
        per_word = 32 // bits
        words = parts.rows("zero", begin // per_word, -(-end // per_word)).view(mx.uint32)
        skipped = begin % per_word
        numbers = unpacked(words.T, bits).T[skipped : skipped + end - begin]
        zeros = _repeated(numbers.astype(mx.float32), tensor.parameters["repeat"])
    return _without_loss(cast(-zeros * scales, MLX_DTYPES[tensor.dtype]), scales, bits)


def _without_loss(decoded: Decoded, scales: mx.array, bits: int) -> Decoded:
    """Mark rows as near if float32, in which MLX computes, cannot hold every product of a scale and a number."""
    fits = mx.all((scales.view(mx.uint32) & ((1 << bits) - 1)) == 0)
    return decoded if fits.item() else Decoded(decoded.rows, "near")


def _packed_scales(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> mx.array:
    if tensor.parameters["single"]:
        return mx.broadcast_to(parts.whole("scale").reshape(1, 1), (end - begin, tensor.shape[-1]))
    return _repeated(parts.rows("scale", begin, end), tensor.parameters["repeat"])


def _repeated(groups: mx.array, times: int) -> mx.array:
    return mx.contiguous(groups if times == 1 else mx.repeat(groups, times, axis=1))


def _from_awq(parts: TensorParts, part: str, begin: int, end: int) -> mx.array:
    """The 4-bit numbers of some outputs, of shape (inputs or groups, outputs)."""
    words = parts.columns(part, begin // 8, -(-end // 8)).view(mx.uint32)
    shifts = mx.array(_AWQ_PLACES, dtype=mx.uint32) * 4
    numbers = ((words[..., None] >> shifts) & 0xF).reshape(words.shape[0], -1)
    return numbers[:, begin % 8 : begin % 8 + end - begin]


def _packed_columns(parts: TensorParts, part: str, begin: int, end: int, bits: int) -> mx.array:
    """The numbers of some columns that are packed along the rows, bit by bit."""
    unit = 32 // math.gcd(32, bits)  # the number of values after which a word boundary recurs
    first, last = begin // unit * unit, -(-end // unit) * unit
    words = parts.columns(part, first * bits // 32, last * bits // 32).view(mx.uint32)
    return unpacked(words, bits)[:, begin - first : end - first]
