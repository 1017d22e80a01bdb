"""The matrix: order, zips, exclusions, labels, and gates of some variants only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.toolchain.spec.recipe import Recipe

Write = Callable[..., Recipe]


def labels(recipe: Recipe) -> list[str]:
    return [spec.variant for spec in recipe.variants()]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", ["none"]),
        ("quantization: int4\n", ["int4"]),
        ("quantization: {bits: 3}\n", ["affine-3bit-g64"]),
        ("quantization: {recipe: mixed_4_6}\n", ["mixed_4_6"]),
        ("quantization: {recipe: mixed_4_6, group_size: 32}\n", ["mixed_4_6-g32"]),
        ("quantization: {bits: 4, overrides: {lm_head: none}}\n", ["int4-custom"]),
        ("variants: {quantization: [int8, int4]}\n", ["int8", "int4"]),
        ("variants: {quantization.bits: [3, 8]}\n", ["affine-3bit-g64", "int8"]),
        ("variants: {tag: tiny}\n", ["tiny"]),
        (
            "variants: {defaults.context: [1, 2], quantization: [int4, int8]}\n",
            ["int4-1", "int4-2", "int8-1", "int8-2"],
        ),
        ("variants: {defaults.context: [1, 2]}\nquantization: int4\n", ["int4-1", "int4-2"]),
        (
            "variants:\n  quantization: [int4, int8, none]\n  defaults.context: [1, 2, 3]\n"
            "  dtype: [float32, bfloat16]\n  zip: [[defaults.context, quantization]]\n",
            [
                "int4-float32-1",
                "int8-float32-2",
                "none-float32-3",
                "int4-bfloat16-1",
                "int8-bfloat16-2",
                "none-bfloat16-3",
            ],
        ),
        (
            "variants:\n  quantization: [int4, int8]\n  defaults.context: [1, 2]\n"
            "  exclude: [{quantization: int4, defaults.context: 2}, {defaults.context: 1, quantization: int8}]\n",
            ["int4-1", "int8-2"],
        ),
        ('variants: {quantization: [int4, int8], tag: "{name}-{version}-{quantization}"}\n', None),
        ("variants: {system_prompt: [null, Be brief.]}\n", ["none-default", "none-Be-brief"]),
        ('variants: {system_prompt: ["Be brief.", Be brief, Go on.]}\n', ["none-1", "none-2", "none-Go-on"]),
        ("quantization: {label: head8, overrides: {lm_head: int8}}\n", ["head8"]),
        (
            "variants: {quantization: [{label: a, overrides: {lm_head: int8}}, {overrides: {lm_head: none}}]}\n",
            ["a", "int4-custom"],
        ),
        (
            "variants:\n  quantization.overrides: [{lm_head: int8}, {lm_head: none}]\n"
            '  tag: "{quantization.overrides}"\n',
            ["1", "2"],
        ),
        ('variants: {prompt_template: [{named: chatml}, {inline: "x"}]}\n', ["none-1", "none-2"]),
    ],
)
def test_labels_in_order(recipe: Write, lines: str, expected: list[str] | None) -> None:
    assert labels(recipe(lines)) == (expected or ["hello-1.0-int4", "hello-1.0-int8"])


def test_an_axis_replaces_its_key_and_leaves_the_rest(recipe: Write) -> None:
    lines = "defaults: {context: 5, top_k: 7}\nvariants: {defaults.context: [1, 2]}\n"
    specs = recipe(lines).variants()
    assert [dict(spec.defaults) for spec in specs] == [{"top_k": 7, "context": 1}, {"top_k": 7, "context": 2}]


def test_an_axis_of_bases_replaces_the_whole_base(recipe: Write) -> None:
    specs = recipe('variants:\n  base: [{hf_repo: a/b}, {from: "c:d"}]\n').variants()
    assert [type(spec.base).__name__ for spec in specs] == ["HubSource", "ArtifactSource"]


def test_null_resets_to_the_default(recipe: Write) -> None:
    first, second = recipe("quantization: int4\nvariants: {quantization: [null, int8]}\n").variants()
    assert (first.variant, second.variant) == ("none", "int8")


def test_origins_point_at_the_value_that_holds(recipe: Write) -> None:
    first, second = recipe("description: x\nvariants:\n  quantization: [int4, int8]\n").variants()
    assert first.origins is not None
    assert second.origins is not None
    assert (first.origins["quantization"].line, first.origins["quantization"].column) == (6, 18)
    assert (second.origins["quantization"].line, second.origins["quantization"].column) == (6, 24)
    assert second.origins["description"].line == 4


def test_origins_of_a_replaced_map_are_those_of_the_new_one(recipe: Write) -> None:
    first, second = recipe('variants:\n  base: [{hf_repo: a/b}, {from: "c:d"}]\n').variants()
    assert "base.hf_repo" in (first.origins or {})
    assert [key for key in second.origins or {} if key.startswith("base.")] == ["base.from"]


def test_gates_of_some_variants(recipe: Write) -> None:
    first, second = recipe(
        "variants: {quantization: [int4, int8]}\n"
        "tests:\n  - size: {max: 1MB}\n    only: [int4]\n  - size: {max: 2MB}\n  - tokens: {text: a, ids: [1]}\n"
    ).variants()
    assert [gate.name for gate in first.gates] == ["size", "size-2", "tokens"]
    assert [gate.name for gate in second.gates] == ["size-2", "tokens"]
