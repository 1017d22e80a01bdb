"""Encodes a tensor's numbers as stored bytes: casts, checks and quantizes, slice by slice on the CPU.

Memory is bounded by the slice, not by the tensor: for a quantized tensor, only scales and biases are held to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import mlx.core as mx

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.affine import Kernel, kernel_for, packed
from mlxbuild.toolchain.weights.dtypes import EXPONENT_BITS, SAFETENSORS_NAMES
from mlxbuild.toolchain.weights.writer import Buffer, StoredTensor

Rows = Callable[[], Iterator[mx.array]]
"""Returns an iterator over a tensor's rows in slices of shape (rows, columns), in order."""

_LEAVES: Final = ("weight", "scales", "biases")


class NotFinite(ValueError):
    """A slice has NaN or infinity; `overflowed` if only the cast caused it."""

    def __init__(self, *, overflowed: bool) -> None:
        super().__init__("not finite")
        self.overflowed = overflowed


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of one parameter: how it is cast, quantized and stored."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    """The `mx.Dtype` after casting."""
    scheme: QuantizationScheme | None

    @property
    def columns(self) -> int:
        """Size of the last axis."""
        return self.shape[-1] if self.shape else 1

    def tensors(self) -> tuple[StoredTensor, ...]:
        """The tensors to be stored, in order: the tensor itself, or weight, scales and biases. Evaluates nothing."""
        if self.scheme is None:
            return (_stored(self.name, self.shape, self.dtype),)
        parts = _quantize(mx.zeros(self.shape, dtype=self.dtype), self.scheme)
        module = self.name.removesuffix(".weight")
        return tuple(
            _stored(f"{module}.{leaf}", part.shape, part.dtype) for leaf, part in zip(_LEAVES, parts, strict=False)
        )

    def buffers(self, rows: Rows) -> Iterator[Buffer]:
        """The bytes of `tensors()`, in order.

        Raises:
            NotFinite: a number is NaN or infinite.
        """
        return _in_order(self._parts(slice_) for slice_ in rows())

    @property
    def kernel(self) -> Kernel | None:
        """A compiled kernel that quantizes raw bytes in this dtype, or None."""
        return None if self.scheme is None else kernel_for(self.scheme, self.dtype)

    def buffers_by(self, kernel: Kernel, pieces: Iterator[memoryview]) -> Iterator[Buffer]:
        """The bytes of `tensors()`, in order, from the raw bytes of whole rows.

        Raises:
            NotFinite: a number is NaN or infinite.
        """
        return _in_order(self._packed(kernel, piece) for piece in pieces)

    def _parts(self, slice_: mx.array) -> tuple[Buffer, ...]:
        values = slice_ if slice_.dtype == self.dtype else slice_.astype(self.dtype)
        parts = (values,) if self.scheme is None else _quantize(values, self.scheme)
        flat = tuple(map(as_bytes, parts))
        highest = _highest_exponent(values)
        mx.eval(*flat, *([] if highest is None else [highest]))  # once per slice, since every call wakes another thread
        if _is_beyond(highest, values.dtype):
            raise NotFinite(overflowed=not _is_beyond(_highest_exponent(slice_), slice_.dtype))
        return tuple(map(memoryview, flat))

    def _packed(self, kernel: Kernel, piece: memoryview) -> tuple[Buffer, ...]:
        assert self.scheme is not None
        parts = packed(kernel, piece, self.scheme)
        if parts is None:
            raise NotFinite(overflowed=False)
        return parts


def _in_order(slices: Iterator[tuple[Buffer, ...]]) -> Iterator[Buffer]:
    """The first part of each slice as it comes, then all second parts, and so on."""
    waiting: list[tuple[Buffer, ...]] = []
    for first, *others in slices:
        yield first
        waiting.append(tuple(others))
    for rank in range(len(waiting[0]) if waiting else 0):
        for parts in waiting:
            yield parts[rank]


def check_finite(slice_: mx.array) -> None:
    """Raise `NotFinite` if a number is NaN or infinite."""
    if _is_beyond(_highest_exponent(slice_), slice_.dtype):
        raise NotFinite(overflowed=False)


def as_bytes(array: mx.array) -> Any:
    """The bytes of an array, little-endian, in row order, as an array that supports the buffer protocol."""
    return mx.contiguous(array).reshape(-1).view(mx.uint8)


def slices_of(array: mx.array, slice_bytes: int) -> Iterator[mx.array]:
    """Slices of an array's rows."""
    if array.size == 0:
        return
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    step = max(1, slice_bytes // (rows.shape[1] * rows.itemsize))
    for begin in range(0, rows.shape[0], step):
        yield rows[begin : begin + step]


def _quantize(values: mx.array, scheme: QuantizationScheme) -> tuple[mx.array, ...]:
    return tuple(mx.quantize(values, scheme.group_size, scheme.bits, mode=scheme.mode))


def _stored(name: str, shape: tuple[int, ...], dtype: Any) -> StoredTensor:
    return StoredTensor(name, SAFETENSORS_NAMES[dtype], tuple(shape), math.prod(shape) * dtype.size)


def _highest_exponent(values: mx.array) -> mx.array | None:
    """The largest exponent, a cheap test for finite numbers: one pass over the bits, without conversion."""
    bits = EXPONENT_BITS.get(values.dtype)
    if bits is None or values.size == 0:
        return None
    unsigned, mask = bits
    return mx.max(values.view(unsigned) & mask)


def _is_beyond(highest: mx.array | None, dtype: Any) -> bool:
    return highest is not None and highest.item() == EXPONENT_BITS[dtype][1]
