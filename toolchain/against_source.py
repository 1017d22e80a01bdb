"""Compares every tensor of an artifact with the GGUF file that it was built from, number by number.

The file is read by the independent `gguf` package, which shares no code with what built the artifact.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import mlx.core as mx
import numpy as np

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import TrustError, UserError
from mlxbuild.toolchain.core.lock import LockedTensor
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.rebuild import NotRebuildable, locked_variant
from mlxbuild.toolchain.weights.accuracy import KINDS, accuracies_of
from mlxbuild.toolchain.weights.decoded import Accuracy
from mlxbuild.toolchain.weights.device import cpu_device
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.plan import plan_weights
from mlxbuild.toolchain.weights.reading import SourceFile
from mlxbuild.toolchain.weights.safetensors import HeaderTensor, read_file_header
from mlxbuild.toolchain.weights.structure import Structure, TableRow, structure_of

if TYPE_CHECKING:
    from mlxbuild.toolchain.sources.hub import Hub

_SLICE_NUMBERS: Final = 1 << 20


class NotComparable(UserError):
    """An artifact's weights cannot be compared with their source tensor by tensor."""

    code = "not-comparable"


class OtherThanItsSource(TrustError):
    """Weights that an artifact calls exact differ from those of its source."""

    code = "other-than-source"


@dataclass(frozen=True, slots=True)
class TensorComparison:
    """The comparison of one source tensor with its counterpart in the artifact."""

    name: str
    """Name of the tensor in the artifact."""
    type: str
    """Tensor type in the GGUF file."""
    claimed: Accuracy
    largest_difference: float
    """The largest absolute difference between two corresponding numbers, as float32."""


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """The comparisons of all tensors of one artifact."""

    file: str
    tensors: tuple[TensorComparison, ...]

    def counts(self) -> Mapping[Accuracy, int]:
        """The number of tensors claimed to be exact, near and rounded."""
        return {kind: sum(tensor.claimed == kind for tensor in self.tensors) for kind in KINDS}

    def largest(self, kind: Accuracy) -> float:
        """The largest difference among the tensors of one accuracy."""
        return max((tensor.largest_difference for tensor in self.tensors if tensor.claimed == kind), default=0.0)

    @property
    def false_claims(self) -> tuple[TensorComparison, ...]:
        """Tensors that are called exact but differ."""
        return tuple(tensor for tensor in self.tensors if tensor.claimed == "exact" and tensor.largest_difference != 0)


def compare_with_source(
    artifact: Artifact, recipe: Path, checkpoint: Callable[[], None] = lambda: None, hub: Hub | None = None
) -> SourceComparison:
    """Compare every tensor of a GGUF file with its counterpart in an artifact.

    Args:
        artifact: The artifact.
        recipe: Path of the recipe on this machine. The GGUF file is found relative to it, or on the Hub.
        checkpoint: Called between tensors; may raise to stop.
        hub: By default the Hub configured by the environment.

    Raises:
        NotComparable: the base is not a GGUF file, adapters were fused, or the architecture computes new tensors.
        NotRebuildable: the artifact carries no recipe or no lock.
        StaleLock, SourceCorrupt: the file is not the one that the artifact was built from.
    """
    try:
        variant = locked_variant(artifact, recipe, hub)
    except NotRebuildable as error:
        raise NotComparable(error.message, where=str(artifact.digest), hint=error.hint) from None
    base = variant.base
    if base.gguf is None:
        raise NotComparable(
            "the artifact was not built from a GGUF file",
            where=str(artifact.digest),
            hint="`mlxbuild verify --rebuild` proves of any artifact that it is what its recipe and lock give",
        )
    if variant.spec.adapters:
        raise NotComparable(
            "adapters were fused into the weights", where=str(artifact.digest), hint="use `mlxbuild verify --rebuild`"
        )
    with cpu_device():
        return SourceComparison(base.gguf, tuple(_compare(artifact, variant, checkpoint)))


def require_as_claimed(comparison: SourceComparison) -> None:
    """Check that every tensor that is called exact is exact.

    Raises:
        OtherThanItsSource: at least one is not; the message names the worst.
    """
    wrong = sorted(comparison.false_claims, key=lambda tensor: -tensor.largest_difference)
    if wrong:
        raise OtherThanItsSource(
            f"{len(wrong)} tensors are called exact and are not: `{wrong[0].name}` differs by "
            f"{wrong[0].largest_difference:g}",
            where=comparison.file,
            hint="build the artifact again, and tell its publisher",
        )


def _compare(artifact: Artifact, variant: LockedVariant, checkpoint: Callable[[], None]) -> Iterator[TensorComparison]:
    base = variant.base
    names = _names(variant)
    stored = _Stored(artifact)
    claims = accuracies_of(artifact)
    paths = {file.path: variant.catalogue.fetch(base, file) for file in base.files if not file.derived}
    files = {path: SourceFile(place) for path, place in paths.items()}
    try:
        for tensor in sorted(base.tensors, key=lambda tensor: tensor.name):
            checkpoint()
            name = names.get(tensor.name)
            if name is None or name not in claims:
                raise NotComparable(
                    f"`{tensor.name}` of the file is computed into other tensors, or dropped", where=tensor.file
                )
            yield TensorComparison(
                name, tensor.dtype, claims[name], _largest_difference(tensor, files[tensor.file], stored, name)
            )
        for file in files.values():
            file.check()
    finally:
        for file in files.values():
            file.close()
        stored.close()


def _names(variant: LockedVariant) -> Mapping[str, str]:
    """Tensor names in the GGUF file to those in the artifact, for tensors that the architecture passes through."""
    base = variant.base
    plan = plan_weights(variant.spec, base, (), lambda file: variant.catalogue.fetch(base, file).read_bytes())
    assert plan.configuration is not None
    rows: list[TableRow] = [(name, dtype, tuple(shape)) for name, dtype, shape in json.loads(plan.table)]
    identity = (Digest.of_bytes(plan.configuration), Digest.of_bytes(plan.table))
    structure: Structure = structure_of(json.loads(plan.configuration), rows, identity, whole=True)
    return {
        output.source: output.name
        for outputs in structure.outputs.values()
        for output in outputs
        if output.source is not None
    }


def _largest_difference(tensor: LockedTensor, file: SourceFile, stored: _Stored, name: str) -> float:
    rows, columns = _matrix(tensor.shape)
    row_bytes = tensor.size_bytes // rows
    heads = tensor.permuted_heads or 1
    height = rows // heads
    step = max(1, _SLICE_NUMBERS // columns)
    largest = 0.0
    # Where rows of heads were interleaved, read whole heads at once, so that the rows can be put back in order.
    step = step if tensor.permuted_heads is None else max(height, step - step % height)
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        data = np.frombuffer(file.read(tensor.begin + begin * row_bytes, (end - begin) * row_bytes), np.uint8)
        meant = _dequantized(data.reshape(end - begin, row_bytes), tensor.dtype)
        if tensor.permuted_heads is not None:
            meant = meant.reshape(-1, height // 2, 2, columns).swapaxes(1, 2).reshape(end - begin, columns)
        found = stored.rows(name, begin, end) + np.float32(tensor.offset)
        largest = max(largest, float(np.abs(meant - found).max(initial=0.0)))
    return largest


def _dequantized(rows: Any, kind: str) -> Any:
    library = importlib.import_module("gguf")
    return library.quants.dequantize(rows, library.GGMLQuantizationType[kind]).astype(np.float32)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    columns = shape[-1] if len(shape) > 1 else 1
    return int(np.prod(shape)) // columns, columns


class _Stored:
    """Reads the artifact's tensors as numbers; quantized tensors are dequantized to float32 as MLX does."""

    def __init__(self, artifact: Artifact) -> None:
        self._tensors: dict[str, tuple[HeaderTensor, Path]] = {}
        for file in artifact.files:
            if file.path.endswith(".safetensors"):
                place = artifact.store.path(file.blob.digest)
                self._tensors |= {tensor.name: (tensor, place) for tensor in read_file_header(place)}
        self._schemes: dict[str, Any] = artifact.read_object("config.json").get("quantization") or {}
        self._files: dict[Path, SourceFile] = {}

    def rows(self, name: str, begin: int, end: int) -> Any:
        """Rows `begin` to `end` of a tensor as float32."""
        module = name.removesuffix(".weight")
        weight = self._rows(name, begin, end)
        if f"{module}.scales" not in self._tensors:
            return np.array(weight.astype(mx.float32))
        scheme = self._schemes.get(module) or {
            key: self._schemes[key] for key in ("mode", "bits", "group_size") if key in self._schemes
        }
        scales = self._rows(f"{module}.scales", begin, end)
        if f"{module}.biases" not in self._tensors:
            return np.array(mx.dequantize(weight, scales, **scheme).astype(mx.float32))
        biases = self._rows(f"{module}.biases", begin, end).astype(mx.float32)
        return np.array(mx.dequantize(weight, scales.astype(mx.float32), biases, **scheme))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _rows(self, name: str, begin: int, end: int) -> mx.array:
        tensor, place = self._tensors[name]
        rows, columns = _matrix(tensor.shape)
        row_bytes = tensor.size_bytes // rows
        file = self._files.get(place)
        if file is None:
            file = self._files[place] = SourceFile(place)
        data: Any = file.read(tensor.begin + begin * row_bytes, (end - begin) * row_bytes)
        return mx.array(data).view(MLX_DTYPES[tensor.dtype]).reshape(end - begin, columns)
