"""Partitions tensors into blocks by their names.

A block is one transformer layer, the embeddings, or the head (everything else: final norm, output projection).
As names decide, blocks are known before any weights are fetched, for any architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

EMBEDDINGS: Final = "embeddings"
HEAD: Final = "head"

_LEAST_WIDTH = 3
_EMBEDDING_COMPONENTS = frozenset({"wte", "wpe"})


class Named(Protocol):
    """Anything that has a tensor's name."""

    @property
    def name(self) -> str:
        """Name in the checkpoint."""


Row = TypeVar("Row", bound=Named)


@dataclass(frozen=True, slots=True)
class Block(Generic[Row]):
    """Tensors of a source that are processed together."""

    label: str
    """`embeddings`, `000`, `001`, ..., `head`."""
    tensors: tuple[Row, ...]
    """Sorted by name."""


def partition(tensors: Sequence[Row]) -> tuple[Block[Row], ...]:
    """Split a source's tensors into blocks, in the order embeddings, layers, head. Empty blocks are left out."""
    labels = labels_of(tensor.name for tensor in tensors)
    members: dict[str, list[Row]] = {}
    for tensor in tensors:
        members.setdefault(labels[tensor.name], []).append(tensor)
    return tuple(
        Block(label, tuple(sorted(members[label], key=lambda tensor: tensor.name)))
        for label in sorted(members, key=order_of)
    )


def labels_of(names: Iterable[str]) -> Mapping[str, str]:
    """Tensor name to block label, for all tensors of one source (the width of layer numbers depends on all of them)."""
    indices = {name: layer_index(name) for name in names}
    largest = max((index for index in indices.values() if index is not None), default=0)
    width = max(_LEAST_WIDTH, len(str(largest)))
    return {name: _label(name, index, width) for name, index in indices.items()}


def layer_index(name: str) -> int | None:
    """The first integer among the dotted components of a name, which is the layer of a tensor or module, or None."""
    for component in name.split("."):
        if component.isdecimal() and component.isascii():
            return int(component)
    return None


def order_of(label: str) -> tuple[int, int, str]:
    """Sort key for block labels: embeddings, layers by number, head."""
    if label == EMBEDDINGS:
        return (0, 0, label)
    if label == HEAD:
        return (2, 0, label)
    return (1, int(label), label)


def _label(name: str, index: int | None, width: int) -> str:
    if index is not None:
        return f"{index:0{width}d}"
    is_embedding = "embed" in name or not _EMBEDDING_COMPONENTS.isdisjoint(name.split("."))
    return EMBEDDINGS if is_embedding else HEAD
