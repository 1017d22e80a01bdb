"""The table of decoders, and their interface."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast

import mlx.core as mx

from mlxbuild.toolchain.weights.decoded import Accuracy, DecodedTensor

DECODERS: Final[Mapping[str, str]] = {
    "awq-weight": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_awq_weight",
    "dequantized": "mlxbuild.toolchain.weights.formats.decoders.stored:rows_dequantized",
    "fp8-plain": "mlxbuild.toolchain.weights.formats.decoders.fp8:rows_of_plain",
    "fp8-scaled": "mlxbuild.toolchain.weights.formats.decoders.fp8:rows_of_scaled",
    "gguf-biases": "mlxbuild.toolchain.weights.formats.gguf:rows_of_biases",
    "gguf-numbers": "mlxbuild.toolchain.weights.formats.gguf:rows_of_numbers",
    "gguf-scales": "mlxbuild.toolchain.weights.formats.gguf:rows_of_scales",
    "gguf-weight": "mlxbuild.toolchain.weights.formats.gguf:rows_of_weight",
    "gptq-biases": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_gptq_biases",
    "gptq-dense": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_gptq_floats",
    "gptq-scales": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_gptq_scales",
    "gptq-weight": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_gptq_weight",
    "int8-weight": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_int8_weight",
    "lora": "mlxbuild.toolchain.weights.peft.merging:merged_rows",
    "mxfp8-scales": "mlxbuild.toolchain.weights.formats.decoders.fp8:rows_of_exponents",
    "nvfp4-dense": "mlxbuild.toolchain.weights.formats.decoders.nvfp4:rows_as_floats",
    "nvfp4-scales-2": "mlxbuild.toolchain.weights.formats.decoders.nvfp4:rows_of_scales",
    "nvfp4-weight-2": "mlxbuild.toolchain.weights.formats.decoders.nvfp4:rows_of_weight",
    "packed-biases": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_packed_biases",
    "packed-scales": "mlxbuild.toolchain.weights.formats.decoders.affine:rows_of_packed_scales",
    "stored": "mlxbuild.toolchain.weights.formats.decoders.stored:rows_as_stored",
}
"""Method to decoder, as `module:function`."""


class TensorParts(Protocol):
    """Reads ranges of a decoded tensor's parts as matrices, with all axes but the last combined; a vector is a column.

    8-bit floats are returned as uint8, all others in MLX's dtype for theirs.
    """

    def rows(self, part: str, begin: int, end: int) -> mx.array:
        """Rows `begin` to `end`, of shape (end - begin, columns)."""

    def columns(self, part: str, begin: int, end: int) -> mx.array:
        """All rows of the columns `begin` to `end`, of shape (rows, end - begin)."""

    def whole(self, part: str) -> mx.array:
        """The whole of a small part, in its own shape."""


@dataclass(frozen=True, slots=True)
class RoundingError:
    """The rounding error of some rows, as sums of squares."""

    error: float = 0.0
    numbers: float = 0.0

    def __add__(self, other: RoundingError) -> RoundingError:
        return RoundingError(self.error + other.error, self.numbers + other.numbers)

    @property
    def relative(self) -> float:
        """The root mean square of the errors, relative to that of the numbers."""
        return math.sqrt(self.error / self.numbers) if self.numbers else 0.0


LARGEST_LOSS: Final = 0.1
"""The largest relative error at which a tensor is converted to one of MLX's forms: about the cost of 4-bit numbers as
such (9.5 % for normally distributed weights)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded rows of a tensor."""

    rows: mx.array
    """In the tensor's dtype, of shape (end - begin, columns); may be lazy."""
    accuracy: Accuracy | None = "exact"
    """None if the numbers intentionally differ from the source's."""
    loss: RoundingError | None = None
    """The rounding error, if it was measured."""


Decoder = Callable[[DecodedTensor, TensorParts, int, int], Decoded]
"""Returns rows `begin` to `end` of a tensor. Raises `StepError` if parts are not what the plan expected."""


def decoder_of(method: str) -> Decoder:
    """The decoder of a method."""
    module, name = DECODERS[method].split(":")
    return cast(Decoder, getattr(importlib.import_module(module), name))


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor viewed as a matrix, with all axes but the last combined; a vector is a column."""
    columns = shape[-1] if len(shape) > 1 else 1
    rows = 1
    for length in shape[:-1] if len(shape) > 1 else shape:
        rows *= length
    return rows, columns
