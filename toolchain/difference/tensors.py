"""Differences between tensors: shape, precision, and the largest difference of values, read a few megabytes at a time.

Files that both artifacts hold by the same digest are never opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlxbuild.toolchain.difference.logical import LogicalTensor, Scheme, TensorLocation
from mlxbuild.toolchain.weights.safetensors import read_file_header

SLICE_BYTES = 4 << 20
"""The size in bytes of the part of a tensor that is held as float32 at once."""

Kind = Literal["added", "removed", "shape", "precision", "values"]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that differs between two artifacts."""

    name: str
    kind: Kind
    before: LogicalTensor | None
    after: LogicalTensor | None
    largest: float | None = None
    """The largest absolute difference of two values; NaN if only one of them is NaN, None if not comparable."""

    def to_json(self) -> dict[str, Any]:
        """The difference as plain JSON data; a number that is not finite becomes a string."""
        document: dict[str, Any] = {"name": self.name, "kind": self.kind}
        for side, tensor in (("before", self.before), ("after", self.after)):
            if tensor is not None:
                document[side] = {"shape": list(tensor.shape), "dtype": tensor.dtype}
                if tensor.scheme is not None:
                    document[side] |= {
                        "mode": tensor.scheme.mode,
                        "bits": tensor.scheme.bits,
                        "group_size": tensor.scheme.group_size,
                    }
        if self.largest is not None:
            document["largest_difference"] = self.largest if math.isfinite(self.largest) else str(self.largest)
        return document


def tensors_of(files: Mapping[str, Path], quantization: Mapping[str, Any] | None) -> dict[str, LogicalTensor]:
    """The logical tensors of some safetensors files, each quantized weight combined with its scales and biases.

    Args:
        files: File name to path.
        quantization: The entry of config.json in mlx-lm's form: a default scheme, and exceptions by module path.

    Raises:
        UnsafeWeights: a header does not describe its file.
    """
    places = {tensor.name: TensorLocation(path, tensor) for path in files.values() for tensor in read_file_header(path)}
    found: dict[str, LogicalTensor] = {}
    for name, place in places.items():
        module, _, last = name.rpartition(".")
        scheme = _scheme(quantization, module) if f"{module}.scales" in places else None
        if scheme is None or last not in ("weight", "scales", "biases"):
            found[name] = LogicalTensor(name, place.tensor.shape, place.tensor.dtype, None, place)
        elif last == "weight":
            scales = places[f"{module}.scales"]
            columns = place.tensor.shape[-1] * 32 // scheme.bits if place.tensor.shape else 0
            shape = (*place.tensor.shape[:-1], columns)
            dtype = scales.tensor.dtype
            found[name] = LogicalTensor(name, shape, dtype, scheme, place, scales, places.get(f"{module}.biases"))
    return found


def _scheme(quantization: Mapping[str, Any] | None, module: str) -> Scheme | None:
    if not isinstance(quantization, Mapping):
        return None
    own = quantization.get(module)
    chosen = own if isinstance(own, Mapping) else quantization
    mode, bits, group_size = chosen.get("mode", "affine"), chosen.get("bits"), chosen.get("group_size")
    if isinstance(mode, str) and isinstance(bits, int) and isinstance(group_size, int) and bits > 0 < group_size:
        return Scheme(mode, bits, group_size)
    return None


def compare(
    before: Mapping[str, LogicalTensor], after: Mapping[str, LogicalTensor], *, values: bool = True
) -> Iterator[TensorDifference]:
    """Every tensor that differs, sorted by name.

    Args:
        before: Tensors of the first artifact.
        after: Tensors of the second artifact.
        values: Compute the largest difference; otherwise only report that the bytes differ.

    Raises:
        OSError: a file cannot be read.
    """
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            yield TensorDifference(name, "added" if one is None else "removed", one, other)
        elif one.shape != other.shape:
            yield TensorDifference(name, "shape", one, other)
        else:
            differing_precision = (one.scheme, one.dtype) != (other.scheme, other.dtype)
            if differing_precision or not _same_bytes(one, other):
                largest = largest_difference(one, other) if values else None
                yield TensorDifference(name, "precision" if differing_precision else "values", one, other, largest)


def _same_bytes(one: LogicalTensor, other: LogicalTensor) -> bool:
    if len(one.parts) != len(other.parts):
        return False
    return all(_same_part(a, b) for a, b in zip(one.parts, other.parts, strict=True))


def _same_part(one: TensorLocation, other: TensorLocation) -> bool:
    if one.tensor.size_bytes != other.tensor.size_bytes:
        return False
    with one.path.open("rb", buffering=0) as first, other.path.open("rb", buffering=0) as second:
        for begin in range(0, one.tensor.size_bytes, SLICE_BYTES):
            size = min(SLICE_BYTES, one.tensor.size_bytes - begin)
            first.seek(one.tensor.begin + begin)
            second.seek(other.tensor.begin + begin)
            if first.read(size) != second.read(size):
                return False
    return True


def largest_difference(one: LogicalTensor, other: LogicalTensor) -> float | None:
    """The largest absolute difference of two tensors of equal shape, slice by slice; None if MLX cannot read one."""
    from mlxbuild.toolchain.difference.values import Reader  # imports MLX

    rows = math.prod(one.shape[:-1]) if one.shape else 1
    columns = one.shape[-1] if one.shape else 1
    step = max(1, SLICE_BYTES // (4 * max(columns, 1)))
    largest = 0.0
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(tensor, columns)) for tensor in (one, other)]
        if not all(reader.readable for reader in readers):
            return None
        for begin in range(0, rows if columns else 0, step):
            found = readers[0].difference(readers[1], begin, min(step, rows - begin))
            if math.isnan(found):
                return found
            largest = max(largest, found)
    return largest
