"""The facts about a block that its step outputs, for combining blocks to a model. Plain data, without MLX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core import canonical_json
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.decoded import Accuracy
from mlxbuild.toolchain.weights.writer import StoredTensor


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """The content of a block's output `facts`."""

    shards: Mapping[str, tuple[StoredTensor, ...]]
    """Output name of a shard (`shard-00`, ...) to its tensors, in file order."""
    quantized: Mapping[str, QuantizationScheme]
    """Module path to scheme, for modules quantized by this step."""
    parameters: int
    """Number of the block's parameters before quantizing."""
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    """Accuracy of each parameter from a quantized source; scales and biases are counted as part of their weight. Empty
    for any other source."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Relative root mean square error of source tensors that were rounded, where it was measured, by name of the
    source's tensor."""

    def to_json(self) -> bytes:
        """The facts as canonical JSON."""
        accuracy = {"accuracy": dict(self.accuracy)} if self.accuracy else {}
        return canonical_json.encode(
            {
                **accuracy,
                **({"errors": dict(self.errors)} if self.errors else {}),
                "shards": {
                    name: {
                        tensor.name: {
                            "dtype": tensor.dtype,
                            "shape": list(tensor.shape),
                            "size_bytes": tensor.size_bytes,
                        }
                        for tensor in tensors
                    }
                    for name, tensors in self.shards.items()
                },
                "quantized": {path: scheme_to_json(scheme) for path, scheme in self.quantized.items()},
                "parameters": self.parameters,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> BlockFacts:
        """The inverse of `to_json`; tensors are sorted by name."""
        facts = json.loads(data)
        return cls(
            {
                name: tuple(
                    StoredTensor(tensor, row["dtype"], tuple(row["shape"]), row["size_bytes"])
                    for tensor, row in tensors.items()
                )
                for name, tensors in facts["shards"].items()
            },
            {path: scheme_from_json(scheme) for path, scheme in facts["quantized"].items()},
            facts["parameters"],
            facts.get("accuracy", {}),
            facts.get("errors", {}),
        )


def scheme_to_json(scheme: QuantizationScheme) -> dict[str, Any]:
    """A scheme as mlx-lm writes it to config.json."""
    return {"mode": scheme.mode, "bits": scheme.bits, "group_size": scheme.group_size}


def scheme_from_json(data: Mapping[str, Any]) -> QuantizationScheme:
    """The inverse of `scheme_to_json`."""
    return QuantizationScheme(data["mode"], data["bits"], data["group_size"])
