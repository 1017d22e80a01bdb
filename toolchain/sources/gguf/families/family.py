"""The description of a model family, and the view of a GGUF header that it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.metadata import Metadata


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A GGUF header with the properties that families need."""

    metadata: Metadata
    shapes: Mapping[str, tuple[int, ...]]
    """Tensor name to shape, with rows first."""
    factors: Mapping[str, Sequence[float]]
    """Values of the small tensors that scale rotary frequencies, by name."""

    @property
    def layers(self) -> int:
        """The number of layers; never more than the number of tensors."""
        key = self.metadata.own("block_count")
        count = self.metadata.count(key)
        if count > len(self.shapes):
            self.metadata.fail(f"`{key}` is {count}, but the file has {len(self.shapes)} tensors")
        return count

    @property
    def heads(self) -> int:
        """Number of attention heads per layer."""
        return self.metadata.count(self.metadata.own("attention.head_count"))

    @property
    def key_heads(self) -> int:
        """Number of key and value heads; equal to the number of heads if the file does not say."""
        return self.metadata.count(self.metadata.own("attention.head_count_kv"), self.heads)

    @property
    def width(self) -> int:
        """The hidden size."""
        return self.metadata.count(self.metadata.own("embedding_length"))

    @property
    def is_tied(self) -> bool:
        """Whether the output projection is tied to the embeddings: llama.cpp then writes none."""
        return "output.weight" not in self.shapes


@dataclass(frozen=True, slots=True)
class Family:
    """A model family that GGUF files can hold."""

    model_type: str
    """`model_type` in config.json."""
    class_name: str
    """Class name in transformers."""
    configuration: Callable[[GgufModel], dict[str, Any]]
    """The content of config.json besides names and special tokens."""
    tensors: Callable[[GgufModel], dict[str, Placement | None]]
    """Placements of all tensors that the file must have, by name; None for a tensor that is not a weight, as its values
    go into config.json."""
    numbers: frozenset[str] = frozenset()
    """The keys of `other_numbers.py` that the configuration reads."""
