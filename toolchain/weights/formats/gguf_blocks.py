"""Unpacks the blocks of GGUF's quantized types to integers, scales and biases, with numpy and without rounding.

The layouts are those of `ggml-quants.c` and `ggml-common.h` in https://github.com/ggml-org/ggml; a number is
`scale * q + bias`. Little-endian throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlxbuild.toolchain.weights.formats.gguf_types import TYPES_BY_NAME

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

_SIXTEEN = np.uint8(16)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows as groups of 32 numbers, each group with a scale and a bias, in float32 without any rounding."""

    numbers: Bytes
    """(rows, columns), each below 2 to the power of the form's bits."""
    scales: Floats
    """(rows, columns / 32)."""
    biases: Floats


def take_apart(rows: Bytes, kind: str) -> Groups:
    """Unpack rows of blocks, of shape (rows, bytes of a row), with a type in `EXACT`."""
    blocks = rows.reshape(len(rows), -1, TYPES_BY_NAME[kind].block_bytes)
    numbers, scales, biases = EXACT[kind](blocks)
    count = len(rows)
    return Groups(numbers.reshape(count, -1), scales.reshape(count, -1), biases.reshape(count, -1))


def plain(rows: Bytes, kind: str) -> NDArray[np.generic]:
    """Rows of F32 or F16 as they are, and of BF16 as float32."""
    if kind == "BF16":
        return (rows.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return rows.view("<f4" if kind == "F32" else "<f2")


def packed(numbers: Bytes, bits: int) -> NDArray[np.uint32]:
    """Rows of numbers packed as in MLX: bit by bit from the lowest on, into 32-bit words."""
    if bits == 8:
        return np.ascontiguousarray(numbers).view("<u4")
    if bits == 4:
        return np.ascontiguousarray(numbers[:, ::2] | (numbers[:, 1::2] << 4)).view("<u4")
    digits = np.unpackbits(numbers[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(digits.reshape(len(numbers), -1), axis=-1, bitorder="little").view("<u4")


def mxfp4(rows: Bytes) -> tuple[Bytes, Bytes]:
    """Rows of MXFP4: the 4-bit numbers in order, and the exponent of each group."""
    blocks = rows.reshape(len(rows), -1, 17)
    return _nibbles(blocks[..., 1:]).reshape(len(rows), -1), np.ascontiguousarray(blocks[..., 0])


def _half(blocks: Bytes, place: int) -> Floats:
    """The float16 at an offset in every block."""
    return np.ascontiguousarray(blocks[..., place : place + 2]).view("<f2")[..., 0].astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """All low nibbles, then all high ones."""
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _fifth_bits(blocks: Bytes, place: int) -> Bytes:
    """The fifth bits of the numbers: 32 bits at an offset in every block, each worth 16."""
    return np.unpackbits(blocks[..., place : place + 4], axis=-1, bitorder="little") * _SIXTEEN


def _q4_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales = _half(blocks, 0)
    return _nibbles(blocks[..., 2:]), scales, -8 * scales


def _q4_1(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    return _nibbles(blocks[..., 4:]), _half(blocks, 0), _half(blocks, 2)


def _q5_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales = _half(blocks, 0)
    return _nibbles(blocks[..., 6:]) | _fifth_bits(blocks, 2), scales, -16 * scales


def _q5_1(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    return _nibbles(blocks[..., 8:]) | _fifth_bits(blocks, 4), _half(blocks, 0), _half(blocks, 2)


def _q8_0(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales = _half(blocks, 0)
    return blocks[..., 2:] ^ np.uint8(128), scales, -128 * scales


def _q4_k(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales, biases = _scales_of_k(blocks)
    return _nibbles(_quarters(blocks[..., 16:])), scales, biases


def _q5_k(blocks: Bytes) -> tuple[Bytes, Floats, Floats]:
    scales, biases = _scales_of_k(blocks)
    low = _nibbles(_quarters(blocks[..., 48:])).reshape(*blocks.shape[:2], 8, 32)
    high = (blocks[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & np.uint8(1)
    return low | high * _SIXTEEN, scales, biases


def _quarters(data: Bytes) -> Bytes:
    """128 bytes as four times 32: each has 64 numbers, the low nibbles before the high ones."""
    return data.reshape(*data.shape[:-1], 4, 32)


def _scales_of_k(blocks: Bytes) -> tuple[Floats, Floats]:
    """Scale and bias of each of the eight groups of a block: 6-bit integers times one float16 for all."""
    data = blocks[..., 4:16]
    first, second, third = data[..., :4], data[..., 4:8], data[..., 8:]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=-1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=-1)
    return _half(blocks, 0)[..., None] * scales, -(_half(blocks, 2)[..., None] * minima)


EXACT: Final[Mapping[str, Callable[[Bytes], tuple[Bytes, Floats, Floats]]]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
}
"""Type to the function that unpacks blocks: (rows, blocks, bytes) to numbers, scales and biases in column order."""
