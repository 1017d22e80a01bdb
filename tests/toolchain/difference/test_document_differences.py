"""Differences of JSON documents and tokenizers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.difference import tokenizers
from mlxbuild.toolchain.difference.documents import changes, unified

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_documents_differ_exactly_if_changes_are_found(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (not list(changes(one, other))) == same
    assert not list(changes(one, one))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["~ a.b: 1 -> 2"]),
        ({"a": 1}, {"b": None}, ["- a: 1", "+ b: null"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["~ a[1]: 2 -> 3"]),
        ({"a": [1]}, {"a": [1, 3]}, ["~ a: [1] -> [1, 3]"]),
        ({"a": 1}, {"a": True}, ["~ a: 1 -> true"]),
        (None, {"a": 1}, ['~ (all): null -> {"a": 1}']),
        ({"a": "x" * 500}, {}, [f'- a: "{"x" * 116}...']),
    ],
)
def test_each_change_is_told(one: Any, other: Any, told: list[str]) -> None:
    assert [str(change) for change in changes(one, other)] == told


def test_texts_give_a_unified_diff() -> None:
    assert unified("a\nb\n", "a\nc\n", "t")[-2:] == ("-b", "+c")
    assert unified("a\n", "a\n", "t") == ()


def tokenizer(vocabulary: Any, merges: list[str], **more: Any) -> bytes:
    return json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}, **more}).encode()


def test_tokens_merges_and_settings_are_told_apart() -> None:
    one = tokenizer({"a": 0, "b": 1, "c": 2}, ["a b"], decoder=None)
    added = [{"content": "<end>", "id": 9}]
    other = tokenizer({"a": 0, "b": 3, "d": 2}, [], decoder={"type": "Fuse"}, added_tokens=added)
    found = tokenizers.compare(one, other)
    assert found is not None
    assert (found.added, found.removed, found.renumbered, found.merges) == (("<end>", "d"), ("c",), ("b",), True)
    assert [change.path for change in found.settings] == ["decoder"]
    assert 'added: 2 tokens ("<end>", "d")' in found.lines()
    assert json.loads(json.dumps(found.to_json()))["removed"] == ["c"]


def test_unigram_vocabularies_are_read() -> None:
    found = tokenizers.compare(tokenizer([["a", -1.0]], []), tokenizer([["b", 0.0], ["a", -1.0]], []))
    assert found is not None
    assert (found.added, found.renumbered) == (("b",), ("a",))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"model": 1}', b'{"model": {"vocab": [1]}}'])
def test_what_is_no_tokenizer_is_not_compared(content: bytes) -> None:
    assert tokenizers.compare(content, tokenizer({"a": 0}, [])) is None
