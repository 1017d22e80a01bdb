"""The header reader agrees with the reference library on good files, and refuses every lying one with our own error."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, UnsupportedGguf, read_gguf_file_header, read_gguf_header
from mlxbuild.toolchain.sources.gguf.parts import OpenFile, read_gguf_files
from mlxbuild.toolchain.sources.gguf.split import check_split, split_paths
from mlxbuild.toolchain.weights.formats.gguf_types import GGML_TYPES
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf

MUTATIONS = int(os.environ.get("MLXBUILD_MUTATIONS", "200"))
"""`make mutations` takes 20,000."""


def read(content: bytes) -> GgufHeader:
    return read_gguf_header(lambda begin, size: content[begin : begin + size], len(content), "model.gguf")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def entry(name: str, dimensions: Sequence[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


def file_bytes(
    keys: Sequence[bytes] = (), entries: Sequence[bytes] = (), *, data: int = 256, version: int = 3, alignment: int = 32
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(entries), len(keys)) + b"".join((*keys, *entries))
    return head + bytes(-len(head) % alignment) + bytes(data)


def written(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("flag", True)
    writer.add_int64("negative", -(2**40))
    writer.add_token_list(["<s>", "é", "▁a"])
    writer.add_token_scores([0.0, -1.5, -2.5])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_tensor("token_embd.weight", numpy.arange(96, dtype=numpy.float32).reshape(3, 32))
    writer.add_tensor("experts", numpy.zeros((2, 3, 34), numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_reference_library_wrote(tmp_path: Path) -> None:
    header = read_gguf_file_header(written(tmp_path / "model.gguf"))
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "nested":  # which the reference reader cannot read back
            contents: Any = field.contents()
            assert header.metadata[name] == (tuple(contents) if isinstance(contents, list) else contents), name
    assert header.metadata["nested"] == ((1, 2), (3,))
    for tensor, reference in zip(header.tensors, reader.tensors, strict=True):
        shape = tuple(map(int, reversed(reference.shape)))
        assert (tensor.name, tensor.type, tensor.shape) == (reference.name, reference.tensor_type.name, shape)
        assert (tensor.begin, tensor.size_bytes) == (reference.data_offset, reference.n_bytes)


def test_the_types_are_those_of_the_reference_library() -> None:
    sizes = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {number: (kind.name, kind.block_numbers, kind.block_bytes) for number, kind in GGML_TYPES.items()} == sizes


def test_a_large_header_is_read_in_few_growing_ranges() -> None:
    content = file_bytes([key("tokens", 9, struct.pack("<IQ", 8, 200_000) + text("a token of text") * 200_000)])
    asked: list[tuple[int, int]] = []

    def ranged(begin: int, size: int) -> bytes:
        asked.append((begin, size))
        return content[begin : begin + size].ljust(size, b"\0")

    header = read_gguf_header(ranged, len(content) + 10**9, "model.gguf")
    assert header.metadata["tokens"] == ("a token of text",) * 200_000
    assert [begin for begin, _ in asked] == [0, 1 << 20, 2 << 20, 4 << 20]
    assert sum(size for _, size in asked) == 8 << 20


ONE = entry("a", (32,), 0, 0)
NOTHING = struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin like a GGUF file"),
        (b"GGML" + bytes(100), "does not begin like a GGUF file"),
        (file_bytes()[:23], "does not begin like a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "more than any model has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "more than any model has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 9), "goes on to byte 32, but the file ends at 24"),
        (file_bytes([struct.pack("<Q", 2**64 - 1)]), "but the file ends at"),
        (file_bytes([key("a", 9, struct.pack("<IQ", 8, 2**62))]), "more than any vocabulary"),
        (file_bytes([key("a", 9, struct.pack("<IQ", 12, 4_000_000))]), "but the file ends at"),
        (file_bytes([key("a", 9, struct.pack("<IQ", 9, 1) * 9)]), "nests arrays deeper than 4"),
        (file_bytes([key("a", 9, struct.pack("<IQ", 8, 2**21 + 1))]), "2097153 texts, more than any vocabulary"),
        (
            file_bytes([key(name, 9, struct.pack("<IQ", 9, 4000) + struct.pack("<IQ", 4, 0) * 4000) for name in "ab"]),
            "`b` and the keys before it hold 8000 arrays in arrays",
        ),
        (file_bytes([key("a", 9, struct.pack("<IQ", 8, 2) + text("b") + struct.pack("<QB", 1, 255))]), "at byte 66"),
        (file_bytes([key("a", 9, struct.pack("<IQ", 8, 1) + struct.pack("<Q", 2**63))]), "but the file ends at"),
        (file_bytes([key("a", 13, NOTHING)]), "`a` is of the unknown kind 13"),
        (file_bytes([key("a", 4, NOTHING)] * 2), "the header has the key `a` twice"),
        (file_bytes([key("", 4, NOTHING)]), "a key is 1 to 1024 printable characters"),
        (file_bytes([key("\x1b[2J", 4, NOTHING)]), r"not `\\x1b\[2J`"),
        (file_bytes([struct.pack("<Q", 1) + b"\xff" + struct.pack("<II", 4, 0)]), "text that is not UTF-8"),
        (file_bytes([key("general.alignment", 4, NOTHING)], [ONE]), "`general.alignment` is 0, which is not a power"),
        (file_bytes([key("general.alignment", 4, struct.pack("<I", 48))], [ONE]), "is 48, which is not a power of two"),
        (file_bytes([key("general.alignment", 8, text("32"))], [ONE]), "`general.alignment` is '32'"),
        (file_bytes([], [entry("a", (), 0, 0)]), "has 0 dimensions"),
        (file_bytes([], [entry("a", (1,) * 5, 0, 0)]), "has 5 dimensions"),
        (file_bytes([], [entry("a", (0,), 0, 0)]), r"has the shape \[0\]"),
        (file_bytes([], [entry("a", (2**40,), 0, 0)]), r"has the shape \[1099511627776\]"),
        (file_bytes([], [entry("a", (2**31 - 1,) * 4, 0, 0)]), "but the file ends at"),
        (file_bytes([], [entry("a", (48,), 2, 0)]), "has 48 columns, but a block of Q4_0 holds 32"),
        (file_bytes([], [entry("a", (32,), 0, 8)]), "begins at 8, which is not aligned to 32"),
        (file_bytes([], [entry("a", (32,), 0, 2**63)]), "but the file ends at"),
        (file_bytes([], [ONE, entry("b", (32,), 0, 96)]), "tensor `b` overlaps another one"),
        (file_bytes([], [ONE, entry("a", (32,), 0, 128)]), "names the tensor `a` twice"),
        (file_bytes([], [ONE], data=127), "tensor `a` ends at 192, but the file ends at 191"),
    ],
)  # fmt: skip
def test_what_does_not_describe_its_bytes_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(UnsafeWeights, match=message):
        read(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file_bytes(version=1), "is of version 1"),
        (file_bytes(version=4), "is of version 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (file_bytes([], [entry("a", (32,), 4, 0)]), "tensor `a` is of the type 4, which is not known"),
        (file_bytes([], [entry("a", (32,), 999, 0)]), "of the type 999"),
    ],
)  # fmt: skip
def test_what_is_of_another_form_is_refused_by_its_name(content: bytes, message: str) -> None:
    with pytest.raises(UnsupportedGguf, match=message):
        read(content)


def test_version_two_and_another_alignment_are_read() -> None:
    keys = [key("general.alignment", 4, struct.pack("<I", 64))]
    header = read(file_bytes(keys, [ONE], version=2, alignment=64))
    assert header.tensors[0].begin == 128


def _byte(content: bytearray, place: int, chance: random.Random) -> None:
    content[place] = chance.randrange(256)


def _number(content: bytearray, place: int, chance: random.Random) -> None:
    value = chance.choice([0, 1, 2**16, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1])
    content[place : place + 8] = struct.pack("<Q", value)


def _cut(content: bytearray, place: int, chance: random.Random) -> None:
    del content[place:]


def _hole(content: bytearray, place: int, chance: random.Random) -> None:
    del content[place : place + chance.randrange(1, 9)]


def _copy(content: bytearray, place: int, chance: random.Random) -> None:
    begin = chance.randrange(len(content))
    content[place:place] = content[begin : begin + chance.randrange(1, 64)]


WAYS: tuple[Callable[[bytearray, int, random.Random], None], ...] = (_byte, _number, _cut, _hole, _copy)


def test_mutated_headers_give_our_own_error_and_take_no_memory(tmp_path: Path) -> None:
    good = written(tmp_path / "model.gguf").read_bytes()
    header_bytes = read(good).size_bytes
    refused = 0
    tracemalloc.start()
    try:
        for seed in range(MUTATIONS):
            chance = random.Random(seed)
            content = bytearray(good)
            for _ in range(chance.randrange(1, 4)):
                chance.choice(WAYS)(content, chance.randrange(max(1, min(header_bytes, len(content)))), chance)
            for _ in range(2):  # what is imported and cached for the first time is no header's
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                is_refused = _refuses(bytes(content))
                if (taken := tracemalloc.get_traced_memory()[1] - before) < 16 * len(good) + (64 << 10):
                    break
            else:
                pytest.fail(f"mutation {seed} takes {taken} bytes")
            refused += is_refused
    finally:
        tracemalloc.stop()
    assert MUTATIONS > refused > MUTATIONS // 3


def _refuses(content: bytes) -> bool:
    try:
        read(content)
    except MlxbuildError:
        return True
    return False


def test_mutated_headers_of_a_whole_model_give_our_own_error(tmp_path: Path) -> None:
    """Through everything that is derived of them; one byte at a time, so that many are read to their end."""
    good = tiny_gguf(tmp_path / "model.gguf").read_bytes()
    header_bytes = read(good).size_bytes
    outcomes: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        chance = random.Random(seed)
        content = bytearray(good)
        for _ in range(chance.randrange(1, 3)):
            _byte(content, chance.randrange(header_bytes), chance)
        file = OpenFile(_reader(bytes(content)), len(content), "model.gguf")
        try:
            read_gguf_files(("model.gguf",), lambda _, file=file: nullcontext(file), ".", tokenizer=True)
            outcomes["derived"] += 1
        except MlxbuildError as error:
            outcomes[error.code] += 1
    assert outcomes["derived"] > MUTATIONS // 20
    assert len(outcomes) > 2


def _reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda begin, size: content[begin : begin + size]


def test_parts_of_a_split_model_are_named_by_the_first() -> None:
    parts = tuple(f"a/x-{number:05d}-of-00003.gguf" for number in (1, 2, 3))
    assert split_paths(parts[0]) == parts
    assert split_paths("a/x-Q4_K_M.gguf") == ("a/x-Q4_K_M.gguf",)
    with pytest.raises(UnsupportedGguf, match="is part 2 of 3"):
        split_paths(parts[1])


def test_a_part_says_of_itself_what_its_name_says() -> None:
    check_split({}, 1, 1, "x.gguf")
    check_split({"split.no": 1, "split.count": 3}, 2, 3, "x.gguf")
    with pytest.raises(UnsupportedGguf, match="part 2 of 3 by its name, but calls itself number 0 of 3"):
        check_split({"split.no": 0, "split.count": 3}, 2, 3, "x.gguf")
    with pytest.raises(UnsupportedGguf, match="part 1 of 1 by its name, but calls itself number 0 of 3"):
        check_split({"split.no": 0, "split.count": 3}, 1, 1, "renamed.gguf")
