"""Parses the work on a block from an action's record, where `toolchain.weights.plan` put it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.decoded import ModelTensor, decoded_of_row, source_of_row, stored_tensors
from mlxbuild.toolchain.weights.facts import scheme_from_json
from mlxbuild.toolchain.weights.overrides import Override
from mlxbuild.toolchain.weights.reading import SourceTensor


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """The tensors that one adapter adds to the block."""

    configuration: Digest
    factor: float
    tensors: Mapping[str, SourceTensor]


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Everything that determines a block's outputs."""

    configuration: Digest
    table: Digest
    dtype: str | None
    tensors: Mapping[str, ModelTensor]
    scheme: QuantizationScheme | None
    recipe: str | None
    overrides: tuple[Override, ...]
    adapters: tuple[AdapterRequest, ...]

    @property
    def size_bytes(self) -> int:
        """Number of source bytes that the work reads."""
        tables = (self.tensors, *(adapter.tensors for adapter in self.adapters))
        return sum(tensor.size_bytes for table in tables for tensor in stored_tensors(table.values()))

    @property
    def quantizes(self) -> bool:
        """Whether any module may be quantized."""
        return self.scheme is not None or any(scheme is not None for _, scheme in self.overrides)

    @classmethod
    def of(cls, record: ActionRecord) -> BlockRequest:
        """Parse a record of kind `convert` or `quantize`."""
        parameters = record.parameters
        return cls(
            configuration=input_digest(record, "config"),
            table=input_digest(record, "table"),
            dtype=parameters["dtype"],
            tensors=_tensors(parameters["tensors"])
            | {row["name"]: decoded_of_row(row) for row in parameters.get("decoded", ())},
            scheme=_scheme(parameters.get("scheme")),
            recipe=parameters.get("recipe"),
            overrides=tuple((glob, _scheme(scheme)) for glob, scheme in parameters.get("overrides", ())),
            adapters=tuple(
                AdapterRequest(input_digest(record, adapter["config"]), adapter["scale"], _tensors(adapter["tensors"]))
                for adapter in parameters.get("adapters", ())
            ),
        )


def _scheme(data: Mapping[str, Any] | None) -> QuantizationScheme | None:
    return None if data is None else scheme_from_json(data)


def _tensors(rows: list[list[Any]]) -> dict[str, Any]:
    tensors = map(source_of_row, rows)
    return {tensor.name: tensor for tensor in tensors}
