"""What a block's step tells about its output, for those who put the blocks together. Plain data, no MLX."""

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
    """The content of a block's `facts` output."""

    shards: Mapping[str, tuple[StoredTensor, ...]]
    """Output name of the shard (`shard-00`, ...) to its tensors, in file order."""
    quantized: Mapping[str, QuantizationScheme]
    """Module path to its scheme, for modules quantized here."""
    parameters: int
    """Count of the block's parameters before quantizing."""
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    """How close each parameter is that comes of a source which was quantized already; scales and biases count to their
    weight. Empty for any other source."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """By how much a tensor of such a source is off that had to be rounded, where that was measured: the relative root
    mean square, by the name of the source's tensor."""

    def to_json(self) -> bytes:
        """Canonical JSON."""
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
        """The inverse of `to_json`; tensors come back in order of name."""
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
    """As mlx-lm writes it into config.json."""
    return {"mode": scheme.mode, "bits": scheme.bits, "group_size": scheme.group_size}


def scheme_from_json(data: Mapping[str, Any]) -> QuantizationScheme:
    """The inverse of `scheme_to_json`."""
    return QuantizationScheme(data["mode"], data["bits"], data["group_size"])
