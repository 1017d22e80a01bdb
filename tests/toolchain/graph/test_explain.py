"""Explanations: every difference between two records, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import action_key
from mlxbuild.toolchain.graph.explain import differences
from tests.toolchain.core.test_key import parameters


def record(**values: Any) -> ActionRecord:
    return ActionRecord("quantize", 1, values, {"weights": "sha256:" + "a" * 64}, {"mlx": "0.32.4"})


def told(old: ActionRecord, new: ActionRecord) -> list[str]:
    return [str(change) for change in differences(old, new)]


def test_changed_added_and_removed_values_are_told_apart() -> None:
    assert told(record(bits=4, mode="affine"), record(bits=8, group=64)) == [
        "parameters.bits: 4 → 8",
        "parameters.group: added 64",
        "parameters.mode: removed 'affine'",
    ]


def test_digests_are_shortened_and_tools_named() -> None:
    new = ActionRecord("quantize", 1, {}, {"weights": "sha256:" + "b" * 64}, {"mlx": "0.33.0"})
    assert told(record(), new) == [
        "tools.mlx: '0.32.4' → '0.33.0'",
        "inputs.weights: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
    ]


def test_causes_come_before_what_follows_from_them() -> None:
    def pack(digest: str, prompt: str) -> ActionRecord:
        digest = f"sha256:{digest * 64}"
        return ActionRecord("pack", 1, {"prompt": prompt}, {"a": {"output": digest}, "spec": digest}, {})

    assert [change.path for change in differences(pack("a", "x"), pack("b", "y"))] == [
        "parameters.prompt",
        "inputs.spec",
        "inputs.a.output",
    ]


def test_tensor_rows_are_compared_by_name() -> None:
    old = record(tensors=[["a", "BF16", [2, 2]], ["c", "BF16", [4]]])
    new = record(tensors=[["a", "BF16", [2, 2]], ["b", "F32", [1]], ["c", "F32", [4]]])
    assert told(old, new) == [
        "parameters.tensors.b: added ['F32', [1]]",
        "parameters.tensors.c[0]: 'BF16' → 'F32'",
    ]


def test_decoded_tensors_are_named_and_what_of_them_changed() -> None:
    def decoded(name: str, begin: int, dtype: str = "F32") -> dict[str, Any]:
        stored = [f"{name}.weight", "U8", [4, 34], "ab" * 32, begin, 136]
        return {"name": f"{name}.scales", "dtype": dtype, "method": "gguf-scales", "parts": {"blocks": stored}}

    old = record(decoded=[decoded("a", 64), decoded("c", 200)])
    new = record(decoded=[decoded("a", 64), decoded("b", 200), decoded("c", 336, "F16")])
    assert [str(change)[:67] for change in differences(old, new)] == [
        "parameters.decoded.b.scales: added {'dtype': 'F32', 'method': 'gguf",
        "parameters.decoded.c.scales.dtype: 'F32' → 'F16'",
        "parameters.decoded.c.scales.parts.blocks.begin: 200 → 336",
    ]


def test_stored_tensors_are_told_by_the_words_for_their_columns() -> None:
    old, new = (record(tensors=[["a", "BF16", [2, 2], file * 64, begin, 8]]) for file, begin in (("a", 8), ("b", 16)))
    assert told(old, new) == [
        "parameters.tensors.a.begin: 8 → 16",
        "parameters.tensors.a.file: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
    ]


def test_rows_in_another_order_are_told_by_position() -> None:
    old, new = record(gates=[{"name": "a"}, {"name": "b"}]), record(gates=[{"name": "b"}, {"name": "a"}])
    assert told(old, new) == ["parameters.gates[0].name: 'a' → 'b'", "parameters.gates[1].name: 'b' → 'a'"]


@given(parameters, parameters)
def test_other_keys_always_have_a_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = record(**{"x": one}), record(**{"x": other})
    changes = differences(first, second)
    if action_key(first) == action_key(second):
        assert not changes
    elif first != second:
        assert changes


@given(st.lists(st.integers()), st.lists(st.integers()))
def test_plain_lists_are_compared_by_position(one: list[int], other: list[int]) -> None:
    assert bool(differences(record(x=one), record(x=other))) == (one != other)
