"""What a family tells of itself, and what it may look at. The families themselves live beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.metadata import Metadata


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A header as families look at it."""

    metadata: Metadata
    shapes: Mapping[str, tuple[int, ...]]
    """Tensor name to shape, rows first."""
    factors: Mapping[str, Sequence[float]]
    """Values of the small tensors that scale rotary frequencies, by name."""

    @property
    def layers(self) -> int:
        """How many layers there are; never more than tensors."""
        key = self.metadata.own("block_count")
        count = self.metadata.count(key)
        if count > len(self.shapes):
            self.metadata.fail(f"`{key}` is {count}, but the file has {len(self.shapes)} tensors")
        return count

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.metadata.count(self.metadata.own("attention.head_count"))

    @property
    def key_heads(self) -> int:
        """Heads of keys and values; as many as there are heads where the file does not say."""
        return self.metadata.count(self.metadata.own("attention.head_count_kv"), self.heads)

    @property
    def width(self) -> int:
        """Numbers in a hidden state."""
        return self.metadata.count(self.metadata.own("embedding_length"))

    @property
    def is_tied(self) -> bool:
        """Whether the embeddings are the output projection, too: llama.cpp then writes none."""
        return "output.weight" not in self.shapes


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of model that GGUF files hold."""

    model_type: str
    """As config.json names it."""
    class_name: str
    """As transformers names the model."""
    configuration: Callable[[GgufModel], dict[str, Any]]
    """What config.json says beyond the names and the special tokens."""
    tensors: Callable[[GgufModel], dict[str, Placement | None]]
    """Every tensor that the file must have, by its name in it; None for one that is no weight, as its values stand in
    config.json."""
    numbers: frozenset[str] = frozenset()
    """What the configuration reads of the keys in `other_numbers.py`."""
