"""Reasons in the words of the recipe: fields, texts as diffs, tensors by their file, other actions in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.graph.contents import Contents
from mlxbuild.toolchain.graph.reasons import reasons, summarise


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(Home(tmp_path))


def record(step: str, inputs: Mapping[str, Any] | None = None, **parameters: Any) -> ActionRecord:
    return ActionRecord(step, 1, parameters, inputs or {}, {"mlx": "0.32.4"})


def told(store: Store, old: ActionRecord, new: ActionRecord) -> list[str]:
    return [line for reason in reasons(old, new, Contents(store)) for line in reason.lines()]


def stored(name: str, file: str, begin: int = 8, dtype: str = "BF16") -> list[Any]:
    return [name, dtype, [2, 2], file * 64, begin, 8]


def test_overrides_are_named_by_their_glob(store: Store) -> None:
    int8 = {"mode": "affine", "bits": 8, "group_size": 64}
    int4 = int8 | {"bits": 4}
    old = record("quantize", scheme=int4, overrides=[["a.*", int4], ["b", int8]])
    new = record("quantize", scheme=int8, overrides=[["a.*", int8], ["b", None], ["c", int4]])
    assert told(store, old, new) == [
        'quantization.overrides."a.*".bits: 4 → 8',
        "quantization.overrides.b: {mode: 'affine', bits: 8, group_size: 64} → none",
        "quantization.overrides.c: added {mode: 'affine', bits: 4, group_size: 64}",
        "quantization.bits: 4 → 8",
    ]


def test_an_adapters_scale_is_named_as_in_the_recipe(store: Store) -> None:
    old, new = (
        record("quantize", adapters=[{"config": "adapter.0.config", "scale": scale, "tensors": []}])
        for scale in (1.0, 0.5)
    )
    assert told(store, old, new) == ["adapters[0].scale: 1.0 → 0.5"]


def test_tensors_of_one_changed_file_are_one_line(store: Store) -> None:
    old = record("convert", tensors=[stored("a", "a"), stored("b", "a"), stored("c", "c"), stored("d", "d")])
    new = record(
        "convert", tensors=[stored("a", "b", 16), stored("b", "b", 24), stored("c", "c", 9), stored("e", "d", 8, "F32")]
    )
    assert told(store, old, new) == [
        "tensor c: stands elsewhere in its file",
        "2 tensors: their file changed: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
        "tensor d: removed",
        "tensor e: added",
    ]


def test_texts_are_diffs_while_they_are_here_and_digests_otherwise(store: Store) -> None:
    old, new = (str(store.put(text).digest) for text in (b"one\ntwo\n", b"one\n2\n3\n"))
    before, after = (record("template", {"chat_template.jinja": digest}) for digest in (old, new))
    assert told(store, before, after) == [
        "chat_template.jinja: 1 line removed, 2 added",
        "  @@ -1,2 +1,3 @@",
        "   one",
        "  -two",
        "  +2",
        "  +3",
    ]
    gone = replace(after, inputs={"chat_template.jinja": "sha256:" + "b" * 64})
    assert told(store, before, gone) == [f"chat_template.jinja: {old[:19]} → sha256:bbbbbbbbbbbb"]


def test_a_template_is_told_by_its_name(store: Store) -> None:
    old, new = (
        record("template", template={"kind": kind, "value": value}, defaults={})
        for kind, value in (("inherit", ""), ("named", "chatml"))
    )
    assert told(store, old, new) == ["prompt_template: 'inherit' → 'chatml'"]


def test_a_gates_limits_bear_its_name(store: Store) -> None:
    old, new = (record("gate", kind="size", name="small", parameters={"max_bytes": size}) for size in (1, 2))
    assert told(store, old, new) == ["tests.small.max: 1 → 2"]


def test_what_other_actions_made_is_one_line_each(store: Store) -> None:
    def pack(letter: str) -> ActionRecord:
        digest = "sha256:" + letter * 64
        made = {"facts": digest, "shard-00": digest}
        return record("pack", {"block.000": made, "block.001": made, "tokenizer": {"tokenizer.json": digest}})

    assert told(store, pack("a"), pack("b")) == [
        "blocks 000, 001: came out differently",
        "tokenizer: came out differently: tokenizer.json",
    ]


def test_a_summary_names_the_first_and_counts_the_rest(store: Store) -> None:
    old, new = (record("pack", a=value, b=value, c=value, d=value) for value in (1, 2))
    assert summarise(reasons(old, new, Contents(store))) == "a: 1 → 2; b: 1 → 2; and 2 more"
