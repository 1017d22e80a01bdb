"""Logical tensors, which combine a quantized weight with its scales and biases, and their places in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlxbuild.toolchain.weights.safetensors import HeaderTensor


@dataclass(frozen=True, slots=True)
class Scheme:
    """The quantization scheme of a module's weight (`mx.quantize`)."""

    mode: str
    bits: int
    group_size: int

    def __str__(self) -> str:
        return f"{self.mode} {self.bits} bits by {self.group_size}"


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """The place of a stored tensor in its file."""

    path: Path
    tensor: HeaderTensor


@dataclass(frozen=True, slots=True)
class LogicalTensor:
    """A tensor as the model sees it: a quantized weight together with its scales and biases is one tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """The dtype of its numbers; for a quantized tensor, the dtype of its scales."""
    scheme: Scheme | None
    weight: TensorLocation
    scales: TensorLocation | None = None
    biases: TensorLocation | None = None

    @property
    def precision(self) -> str:
        """The precision for display: `BF16`, or `affine 4 bits by 64 (BF16)`."""
        return self.dtype if self.scheme is None else f"{self.scheme} ({self.dtype})"

    @property
    def parts(self) -> tuple[TensorLocation, ...]:
        """All stored tensors that make it up."""
        return tuple(part for part in (self.weight, self.scales, self.biases) if part is not None)
