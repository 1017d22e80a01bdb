"""Tensors as a model sees them, and where in their files they lie. Nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlxbuild.toolchain.weights.safetensors import HeaderTensor


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a module's weight is quantized (`mx.quantize`)."""

    mode: str
    bits: int
    group_size: int

    def __str__(self) -> str:
        return f"{self.mode} {self.bits} bits by {self.group_size}"


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor in its file."""

    path: Path
    tensor: HeaderTensor


@dataclass(frozen=True, slots=True)
class LogicalTensor:
    """A tensor as the model sees it: a quantized weight is one, with its scales and biases."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """Of its numbers: of the scales of a quantized one."""
    scheme: Scheme | None
    weight: Place
    scales: Place | None = None
    biases: Place | None = None

    @property
    def precision(self) -> str:
        """For people: `BF16`, or `affine 4 bits by 64 (BF16)`."""
        return self.dtype if self.scheme is None else f"{self.scheme} ({self.dtype})"

    @property
    def parts(self) -> tuple[Place, ...]:
        """Every stored tensor of it."""
        return tuple(part for part in (self.weight, self.scales, self.biases) if part is not None)
