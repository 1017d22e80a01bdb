"""Which alternatives of a `oneOf` are disjoint, so that it can be treated as an `anyOf`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.json_schema import grammar_of
from mlxbuild.runtime.engine.structured_output.schema_unions import SubschemaComparison
from tests.runtime.engine.schema_walks import lets_through


@pytest.mark.parametrize(
    ("parts", "fits", "other"),
    [
        ([{"type": "integer", "maximum": 5}, {"type": "integer", "minimum": 6}], "6", '"x"'),
        ([{"type": "number", "maximum": 5}, {"type": "integer", "exclusiveMinimum": 5}], "5", "5.5"),
        ([{"const": 1}, {"enum": [2, "x"]}], '"x"', "3"),
        ([{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}], '"abc"', "1"),
        ([{"$ref": "#/$defs/one"}, {"enum": [2]}], "2", "3"),
    ],
)
def test_parts_that_can_be_told_apart_are_one_of(parts: list[Any], fits: str, other: str) -> None:
    schema = {"oneOf": parts, "$defs": {"one": {"const": 1}}}
    assert lets_through(schema, fits)
    assert not lets_through(schema, other)


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "integer", "maximum": 5}, {"type": "integer", "minimum": 5}],
        [{"enum": [1, 2]}, {"enum": [2.0]}],
        [{"properties": {"a": {"const": 1}}}, {"properties": {"a": {"const": 2}}}],
        [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}}}],
    ],
)
def test_parts_that_may_overlap_are_refused(parts: list[Any]) -> None:
    with pytest.raises(FormatNotSupported, match="may overlap") as refused:
        lets_through({"oneOf": parts}, "{}")
    assert "use `anyOf`, or have each object" in str(refused.value.hint)


def _kinds(count: int, **versions: Any) -> list[Any]:
    """Objects with a distinct `kind` each."""
    return [
        {
            "type": "object",
            "properties": {"api": {"const": "x"}, "kind": {"const": f"k{n}"}, "size": {"type": "integer"}, **versions},
            "required": ["api", "kind", "size", *versions],
        }
        for n in range(count)
    ]


def test_any_number_of_objects_of_a_kind_of_their_own_are_told_apart() -> None:
    kinds = _kinds(300)
    fits, other = '{"api":"x","kind":"k299","size":1}', '{"api":"x","kind":"k300","size":1}'
    references = {"oneOf": [{"$ref": f"#/$defs/{n}"} for n in range(300)], "$defs": dict(enumerate(kinds))}
    for schema in ({"oneOf": kinds}, references):
        assert lets_through(json.loads(json.dumps(schema)), fits)
        assert not lets_through(json.loads(json.dumps(schema)), other)


def test_objects_that_share_a_kind_and_parts_without_one_are_compared() -> None:
    first, second = (_kinds(120, version={"const": number}) for number in (1, 2))
    assert SubschemaComparison({}).are_disjoint([*first, *second, {"type": "null"}, {"type": "array"}])
    assert not SubschemaComparison({}).are_disjoint([*first, *second, {"type": "null"}, {"type": ["null", "array"]}])
    assert not SubschemaComparison({}).are_disjoint([*first, *second, {"type": "object"}])
    assert not SubschemaComparison({}).are_disjoint([*first, *second, second[7]])


def test_too_many_objects_that_may_overlap_are_told_how_to_be_told_apart() -> None:
    kinds = [{**each, "required": ["size"]} for each in _kinds(300)]
    with pytest.raises(FormatNotSupported, match="300 parts of a `oneOf` may overlap") as refused:
        grammar_of({"oneOf": kinds})
    assert "use `anyOf`, or have each object" in str(refused.value.hint)


@pytest.mark.parametrize("names", [1, 2500])
def test_tags_are_not_looked_for_without_end(names: int) -> None:
    """Each reference leads to all of the names."""
    large = {"type": "object", "properties": {f"{n}": {"const": n} for n in range(names)}}
    large["required"] = list(large["properties"])
    root = {"$defs": {"large": large}, "oneOf": [{"$ref": "#/$defs/large"}] * 4000}
    parts = SubschemaComparison(root)
    assert not parts.are_disjoint(root["oneOf"])
    assert parts._looked_through <= 203_000
