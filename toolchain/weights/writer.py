"""Writes canonical safetensors shards into a store, tensor by tensor, header first, without MLX.

Canonical means: one header for a set of tensors in an order (JSON with sorted keys, constant metadata, padded with
spaces to 8 bytes), then the data in that order. Shards are filled in order up to a limit; a larger tensor has its
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.store.layout import BlobWriter, Store

SHARD_LIMIT_BYTES: Final = 2**30

Buffer = bytes | bytearray | memoryview

_METADATA = {"format": "mlx"}
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a shard."""

    name: str
    dtype: str
    """Dtype in the safetensors header."""
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard."""

    blob: Blob
    tensors: tuple[StoredTensor, ...]


def write_shards(
    store: Store,
    tensors: Sequence[StoredTensor],
    buffers: Iterable[Buffer],
    *,
    limit_bytes: int = SHARD_LIMIT_BYTES,
) -> tuple[Shard, ...]:
    """Store tensors whose bytes come buffer by buffer, in the order of `tensors`.

    A buffer holds bytes of one tensor only; a tensor may take several buffers. Nothing is stored if this raises.

    Raises:
        ValueError: the buffers do not add up to the tensors.
        DiskFull, StoreReadOnly, StoreFailure: the shards cannot be stored.
    """
    pieces = iter(buffers)
    shards = []
    for members in _split(tensors, limit_bytes):
        with store.writer() as writer:
            writer.write(header(members))
            for tensor in members:
                _copy(tensor, pieces, writer)
            shards.append(Shard(writer.commit(), members))
    if next(pieces, None) is not None:
        raise ValueError("more bytes than tensors")
    return tuple(shards)


def header(tensors: Sequence[StoredTensor]) -> bytes:
    """The length and the JSON header of a file that holds these tensors in this order."""
    entries: dict[str, Any] = {"__metadata__": _METADATA}
    begin = 0
    for tensor in tensors:
        end = begin + tensor.size_bytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = canonical_json.encode(entries)
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _copy(tensor: StoredTensor, pieces: Iterator[Buffer], writer: BlobWriter) -> None:
    missing = tensor.size_bytes
    while missing > 0:
        piece = next(pieces, None)
        if piece is None:
            raise ValueError(f"`{tensor.name}` lacks {missing} bytes")
        missing -= memoryview(piece).nbytes
        writer.write(piece)
    if missing < 0:
        raise ValueError(f"`{tensor.name}` has {-missing} bytes too many")


def _split(tensors: Sequence[StoredTensor], limit_bytes: int) -> Iterator[tuple[StoredTensor, ...]]:
    members: list[StoredTensor] = []
    size_bytes = 0
    for tensor in tensors:
        if members and size_bytes + tensor.size_bytes > limit_bytes:
            yield tuple(members)
            members, size_bytes = [], 0
        members.append(tensor)
        size_bytes += tensor.size_bytes
    if members:
        yield tuple(members)
