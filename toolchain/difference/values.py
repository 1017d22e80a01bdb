"""Reads rows of stored tensors as numbers on the CPU device, dequantizing them, without loading whole tensors."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import mlx.core as mx

from mlxbuild.toolchain.difference.logical import LogicalTensor, TensorLocation
from mlxbuild.toolchain.weights.device import cpu_device
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.safetensors import DTYPE_SIZES, UnsafeWeights

_WIDE = frozenset({"F64", "I64", "U64", "I32", "U32"})  # float32 cannot hold them all
_NO_NUMBERS = frozenset({"C64", "F8_E4M3", "F8_E5M2", "F8_E8M0"})


class Reader:
    """One logical tensor, open for reading; use it in a `with` statement."""

    def __init__(self, tensor: LogicalTensor, columns: int) -> None:
        self._tensor = tensor
        self._columns = columns
        self._stack = ExitStack()
        self._files: dict[TensorLocation, int] = {}

    @property
    def readable(self) -> bool:
        """Whether its elements are numbers that MLX can compute with."""
        tensor = self._tensor
        return tensor.scheme is not None or tensor.dtype not in _NO_NUMBERS

    def difference(self, other: Reader, begin: int, rows: int) -> float:
        """The largest absolute difference in some rows; NaN if only one side is NaN."""
        with cpu_device():
            one, two = self._rows(begin, rows), other._rows(begin, rows)
            same = (one == two) | (mx.isnan(one) & mx.isnan(two))
            largest: Any = mx.max(mx.where(same, mx.zeros_like(one), mx.abs(one - two))).item()
            return float(largest)

    def _rows(self, begin: int, rows: int) -> mx.array:
        tensor = self._tensor
        wide = tensor.scheme is None and tensor.dtype in _WIDE
        weight = self._part(tensor.weight, begin, rows)
        if tensor.scheme is not None:
            assert tensor.scales is not None
            arguments: dict[str, Any] = {"scales": self._part(tensor.scales, begin, rows)}
            if tensor.biases is not None:
                arguments["biases"] = self._part(tensor.biases, begin, rows)
            weight = mx.dequantize(
                weight,
                group_size=tensor.scheme.group_size,
                bits=tensor.scheme.bits,
                mode=tensor.scheme.mode,
                **arguments,
            )
        return weight.astype(mx.float64 if wide else mx.float32).reshape(rows, self._columns)

    def _part(self, place: TensorLocation, begin: int, rows: int) -> mx.array:
        """Rows of a stored tensor, in its own dtype."""
        shape, dtype = place.tensor.shape, place.tensor.dtype
        columns = shape[-1] if shape else 1
        row_bytes = columns * DTYPE_SIZES[dtype]
        data = os.pread(self._files[place], rows * row_bytes, place.tensor.begin + begin * row_bytes)
        if len(data) != rows * row_bytes:
            raise UnsafeWeights("the file ends too early", where=str(place.path))
        raw: Any = memoryview(data)
        return mx.array(raw).view(MLX_DTYPES[dtype]).reshape(rows, columns)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for place in self._tensor.parts:
                self._files[place] = stack.enter_context(place.path.open("rb", buffering=0)).fileno()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
