"""The header reader agrees with the reference library on good files and refuses every lying one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.weights.safetensors import (
    DTYPE_SIZES,
    HeaderTensor,
    UnsafeWeights,
    read_file_header,
    read_header,
)

GOOD = {
    "b.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "a.weight": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
}


def file_bytes(entries: Any, data: int = 34, header: bytes | None = None) -> bytes:
    text = json.dumps(entries).encode() if header is None else header
    return len(text).to_bytes(8, "little") + text + bytes(data)


def read(content: bytes) -> tuple[HeaderTensor, ...]:
    return read_header(lambda begin, size: content[begin : begin + size], len(content), "model.safetensors")


def changed(name: str, **fields: Any) -> dict[str, Any]:
    return {**GOOD, name: {**GOOD[name], **fields}}


def test_a_good_header_is_sorted_with_absolute_offsets() -> None:
    content = file_bytes({"__metadata__": {"format": "pt"}, **GOOD})
    header_end = len(content) - 34
    assert read(content) == (
        HeaderTensor("a.weight", "BF16", (5,), header_end + 24, 10),
        HeaderTensor("b.weight", "F32", (2, 3), header_end, 24),
    )


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=12),
        st.tuples(
            st.sampled_from(["float32", "float16", "uint8", "int64", "bool"]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=6,
    )
)
def test_it_agrees_with_the_reference_library(tables: dict[str, tuple[str, list[int]]]) -> None:
    arrays = {name: numpy.ones(shape, dtype) for name, (dtype, shape) in tables.items()}
    content = safetensors.numpy.save(arrays, {"format": "np"})
    rows = read(content)
    assert [row.name for row in rows] == sorted(arrays)
    for row in rows:
        raw = content[row.begin : row.begin + row.size_bytes]
        assert raw == arrays[row.name].tobytes()
        assert row.shape == arrays[row.name].shape


def test_a_file_on_disk_is_read_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_bytes(GOOD))
    assert read_file_header(path) == read(file_bytes(GOOD))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few"),
        (b"\x01\x00\x00", "too few"),
        ((10**12).to_bytes(8, "little") + b"{}", "more than the limit"),
        ((3).to_bytes(8, "little") + b"{}", "ends at"),
        (file_bytes(None, 0, b" {}"), "not a JSON object"),
        (file_bytes([], 0), "not a JSON object"),
        (file_bytes(None, 0, b"{"), "not valid JSON"),
        (file_bytes(None, 0, b'{"a": NaN}'), "NaN"),
        (file_bytes(None, 0, b'{"\xff": 1}'), "not UTF-8"),
        (file_bytes(None, 0, b'{"a": ' + b"[" * 100_000), "not valid JSON"),
        (file_bytes(None, 0, b'{"a": ' + b"9" * 5000 + b"}"), "not valid JSON"),
        (file_bytes(None, 0, b'{"a": 1, "a": 2}'), "`a`: the header names it twice"),
        (file_bytes({"__metadata__": {"format": 3}}, 0), "__metadata__"),
        (file_bytes({"__metadata__": "pt"}, 0), "__metadata__"),
        (file_bytes({"": GOOD["a.weight"]}, 10), "a name is"),
        (file_bytes({"a\nb": GOOD["a.weight"]}, 10), "`a\\nb`: a name is"),
        (file_bytes({"\ud800": GOOD["a.weight"]}, 10), "a name is"),
        (file_bytes({"a" * 2000: GOOD["a.weight"]}, 10), "a name is"),
        (file_bytes({"a": 3}, 10), "exactly"),
        (file_bytes({"a": {"dtype": "F32", "shape": []}}, 4), "exactly"),
        (file_bytes(changed("a.weight", dtype="F17")), "unknown dtype 'F17'"),
        (file_bytes(changed("a.weight", dtype=["F32"])), "unknown dtype"),
        (file_bytes(changed("a.weight", shape=5)), "shape"),
        (file_bytes(changed("a.weight", shape=[-5])), "shape"),
        (file_bytes(changed("a.weight", shape=[5.0])), "shape"),
        (file_bytes(changed("a.weight", shape=[True])), "shape"),
        (file_bytes(changed("a.weight", shape=[2**31])), "shape"),
        (file_bytes(changed("a.weight", shape=[1] * 33)), "shape"),
        (file_bytes(changed("a.weight", shape=[4])), "`a.weight`: BF16 of shape [4] needs 8 bytes"),
        (file_bytes(changed("a.weight", data_offsets=[24])), "data_offsets"),
        (file_bytes(changed("a.weight", data_offsets=[-10, 0])), "data_offsets"),
        (file_bytes(changed("a.weight", data_offsets=["24", "34"])), "data_offsets"),
        (file_bytes(changed("a.weight", data_offsets=[34, 24])), "span -10"),
        (file_bytes(changed("a.weight", data_offsets=[26, 36]), 36), "leaves a hole"),
        (file_bytes(changed("a.weight", data_offsets=[20, 30])), "overlaps"),
        (file_bytes(GOOD, 33), "`a.weight`: it ends at"),
        (file_bytes(GOOD, 40), "belong to none"),
        (file_bytes({}, 1), "belong to none"),
    ],
)  # fmt: skip
def test_a_lying_file_is_refused_with_the_reason(content: bytes, message: str) -> None:
    with pytest.raises(UnsafeWeights) as caught:
        read(content)
    assert message in caught.value.message
    assert caught.value.where == "model.safetensors"


def test_a_short_answer_of_the_reader_is_a_truncated_file() -> None:
    content = file_bytes(GOOD)
    for kept in range(len(content) - 34):
        with pytest.raises(UnsafeWeights, match="truncated"):
            read_header(lambda begin, size, kept=kept: content[begin : min(begin + size, kept)], len(content), "x")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_described_exactly(content: bytes) -> None:
    try:
        rows = read(content)
    except UnsafeWeights:
        return
    assert sum(row.size_bytes for row in rows) + 8 + int.from_bytes(content[:8], "little") == len(content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
near_entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(sorted(DTYPE_SIZES)) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | json_values,
    }
)


@given(st.dictionaries(st.text(max_size=4), near_entries | json_values, max_size=4), st.integers(0, 60))
def test_whatever_is_accepted_the_reference_library_accepts(entries: dict[str, Any], data: int) -> None:
    content = file_bytes(entries, data)
    try:
        rows = read(content)
    except UnsafeWeights:
        return
    assert sorted(name for name, _ in safetensors.deserialize(content)) == [row.name for row in rows]


@given(st.data())
def test_one_changed_byte_never_yields_tensors_outside_the_file(data: st.DataObject) -> None:
    content = bytearray(file_bytes(GOOD))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    try:
        rows = read(bytes(content))
    except UnsafeWeights:
        return
    assert all(row.begin >= 0 and row.begin + row.size_bytes <= len(content) for row in rows)
