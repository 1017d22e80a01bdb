"""Roles of sources over all variants, and the digest that a lock keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import HubSource
from mlxbuild.toolchain.spec.sources import sources_digest, sources_of

Write = Callable[..., Recipe]


def test_roles_are_ordered_and_each_source_has_one(recipe: Write) -> None:
    found = sources_of(
        recipe(
            "tokenizer: {hf_repo: a/tokenizer}\n"
            "adapters: [{hf_repo: a/first}, {hf_repo: a/second, scale: 2}, {hf_repo: a/first, scale: 3}]\n"
            "variants: {base: [{hf_repo: a/one}, {hf_repo: a/two}], quantization: [int4, int8]}\n"
        )
    )
    assert list(found) == ["base", "base.1", "tokenizer", "adapter.0", "adapter.1"]
    assert found["base.1"] == HubSource("a/two", "main")
    assert found["adapter.1"] == HubSource("a/second", "main")


def test_a_tokenizer_from_the_base_has_the_role_of_the_base(recipe: Write) -> None:
    assert list(sources_of(recipe("tokenizer: {hf_repo: Qwen/Qwen3-0.6B}\n"))) == ["base"]


@pytest.mark.parametrize(
    ("lines", "same"),
    [
        ("quantization: int4\n", True),
        ("description: other\ndefaults: {top_k: 1}\n", True),
        ("tokenizer: inherit\n", True),
        ("tokenizer: {hf_repo: a/b}\n", False),
        ("adapters: [{hf_repo: a/b}]\n", False),
        ("variants: {base.revision: [main, v2]}\n", False),
    ],
)
def test_only_what_names_a_source_changes_the_digest(recipe: Write, lines: str, same: bool) -> None:
    assert (sources_digest(recipe(lines)) == sources_digest(recipe())) is same
