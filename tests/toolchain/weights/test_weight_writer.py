"""Shards that are written are safetensors files, the same for the same tensors, and never half there."""

from __future__ import annotations

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.weights.safetensors import read_file_header
from mlxbuild.toolchain.weights.writer import StoredTensor, header, write_shards


def tensor(name: str, size: int) -> StoredTensor:
    return StoredTensor(name, "U8", (size,), size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 100), st.integers(1, 7))
def test_shards_hold_the_tensors_in_order(store: Store, sizes: list[int], limit: int, piece: int) -> None:
    contents = {f"t{number}": bytes([number]) * size for number, size in enumerate(sizes)}
    tensors = [tensor(name, len(content)) for name, content in contents.items()]
    pieces = [content[i : i + piece] for content in contents.values() for i in range(0, len(content), piece)]
    shards = write_shards(store, tensors, pieces, limit_bytes=limit)
    assert [row for shard in shards for row in shard.tensors] == tensors
    for shard in shards:
        data = store.read(shard.blob.digest)
        assert {name: bytes(entry["data"]) for name, entry in safetensors.deserialize(data)} == {
            row.name: contents[row.name] for row in shard.tensors
        }
        rows = sorted(read_file_header(store.path(shard.blob.digest)), key=lambda row: (row.begin, row.size_bytes))
        assert rows[0].begin % 8 == 0
        assert len(shard.tensors) == 1 or sum(row.size_bytes for row in shard.tensors) <= limit


def test_the_header_is_canonical() -> None:
    assert header([tensor("b", 3), tensor("a", 2)]) == (
        (144).to_bytes(8, "little")
        + b'{"__metadata__":{"format":"mlx"},"a":{"data_offsets":[3,5],"dtype":"U8","shape":[2]},'
        + b'"b":{"data_offsets":[0,3],"dtype":"U8","shape":[3]}}'
        + b" " * 7
    )


@pytest.mark.parametrize(
    ("pieces", "message"), [([b"ab"], "lacks 1"), ([b"abcd"], "1 bytes too many"), ([b"abc", b"d"], "more bytes")]
)
def test_bytes_that_do_not_add_up_leave_no_shard(store: Store, pieces: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_shards(store, [tensor("a", 3)], pieces)
    if message != "more bytes":
        assert not list(store.blobs())
