"""Which function decodes which method, and what such a function gets and gives. The formats lie beside it."""

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
"""Method to `module:function`."""


class Parts(Protocol):
    """Reads pieces of a decoded tensor's parts as matrices, all axes but the last being one; a vector is a column.

    F8 tensors come as uint8, all others in the dtype that MLX has for theirs.
    """

    def rows(self, part: str, begin: int, end: int) -> mx.array:
        """Rows `begin` to `end`, of shape (end - begin, columns)."""

    def columns(self, part: str, begin: int, end: int) -> mx.array:
        """All rows of the columns `begin` to `end`, of shape (rows, end - begin)."""

    def whole(self, part: str) -> mx.array:
        """All of a small part, in its own shape."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How far numbers had to move, over some rows: sums of squares."""

    error: float = 0.0
    numbers: float = 0.0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.error + other.error, self.numbers + other.numbers)

    @property
    def relative(self) -> float:
        """The root mean square of the errors, as a part of that of the numbers."""
        return math.sqrt(self.error / self.numbers) if self.numbers else 0.0


LARGEST_LOSS: Final = 0.1
"""More than this of a tensor is not given up for a form of MLX: about as much as it costs to have numbers of 4 bits at
all (9.5 % of weights that are distributed normally)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some rows of a decoded tensor."""

    rows: mx.array
    """Of the tensor's dtype, (end - begin, columns); may be lazy."""
    accuracy: Accuracy | None = "exact"
    """None where the numbers are meant to be others than the source's."""
    loss: Loss | None = None
    """Where it was measured."""


Decoder = Callable[[DecodedTensor, Parts, int, int], Decoded]
"""Gives rows `begin` to `end` of a tensor. Raises `StepError` where parts are not what the plan took them for."""


def decoder_of(method: str) -> Decoder:
    """The function behind a method."""
    module, name = DECODERS[method].split(":")
    return cast(Decoder, getattr(importlib.import_module(module), name))


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor seen as a matrix, all axes but the last being one; a vector is a column."""
    columns = shape[-1] if len(shape) > 1 else 1
    rows = 1
    for length in shape[:-1] if len(shape) > 1 else shape:
        rows *= length
    return rows, columns
