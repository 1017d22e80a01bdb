"""The restricted YAML of recipes: what plain scalars mean, and that no input breaks the reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.spec.document import DEEPEST, parse, read
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.positions import Positions
from mlxbuild.toolchain.spec.problems import Code


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("1", 1),
        ("-7", -7),
        ("+3", 3),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e-5", 1e-5),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("True", "True"),
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.2.3", "1.2.3"),
        ("9" * 21, "9" * 21),
        ("'1'", "1"),
        ('"true"', "true"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_plain_scalars(written: str, read_as: Any) -> None:
    value = parse(f"key: {written}\n".encode(), "recipe").data["key"]
    assert value == read_as
    assert type(value) is type(read_as)


def test_aliases_are_values() -> None:
    document = parse(b"a: &x [1, 2]\nb: *x\n", "recipe")
    assert document.data == {"a": [1, 2], "b": [1, 2]}


def test_merge_keys() -> None:
    text = """
one: &one {a: 1, b: 1}
two: &two {b: 2, c: 2}
three: &three {<<: *two, d: 3}
both: {c: 9, <<: [*one, *three]}
quoted: {"<<": 1}
"""
    data = parse(text.encode(), "recipe").data
    assert data["three"] == {"b": 2, "c": 2, "d": 3}
    assert data["both"] == {"a": 1, "b": 1, "d": 3, "c": 9}
    assert list(data["both"]) == ["a", "b", "d", "c"]  # own keys come last, as the last override wins
    assert data["quoted"] == {"<<": 1}


def test_merges_are_bounded_like_aliases() -> None:
    keys = ", ".join(f"k{number}: 0" for number in range(500))
    with pytest.raises(SpecError, match="more than 20000 values"):
        parse(f"a: &a {{{keys}}}\nb: {{<<: [{', '.join(['*a'] * 50)}]}}\n".encode(), "recipe")
    levels = "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}], k{n}: 0}}\n" for n in range(50))
    assert len(parse(f"a0: &a0 {{k: 0}}\n{levels}".encode(), "recipe").data["a50"]) == 51
    with pytest.raises(SpecError, match="nest deeper"):
        parse(b"a: &a {b: {<<: *a}}\n", "recipe")


def test_what_was_merged_is_where_its_anchor_is() -> None:
    positions = Positions(parse(b"a: &a\n  b: 1\nc:\n  <<: *a\n  d: 2\n", "recipe"))
    place, own = positions.find(("c", "b")), positions.find(("c", "d"))
    assert place is not None
    assert own is not None
    assert (place.value.start_mark.line, own.value.start_mark.line) == (1, 4)
    assert positions.origins()["c.b"].line == 2


def test_byte_order_mark_and_windows_lines() -> None:
    document = parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "recipe")
    assert document.data == {"a": 1, "b": 2}


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? ", "&a ["])
def test_deep_nesting_is_refused_long_before_the_stack_ends(opening: str) -> None:
    with pytest.raises(SpecError):
        parse((opening * 50_000).encode(), "recipe")


def test_nesting_up_to_the_bound_is_read() -> None:
    levels = DEEPEST - 1
    parse(b"a: " + b"[" * (levels - 1) + b"]" * (levels - 1), "recipe")


@given(st.binary(max_size=60) | st.text("ab:-[]{}&*!|>'\"#%@`?, \n\t0~<", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        document = parse(content, "recipe")
    except SpecError:
        return
    assert isinstance(document.data, dict)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no") as missing:
        read(tmp_path / "ModelSpec.yaml")
    assert missing.value.problems[0].code is Code.FILE
    with pytest.raises(SpecError, match="is a folder") as folder:
        read(tmp_path)
    assert "ModelSpec.yaml" in str(folder.value.hint)
