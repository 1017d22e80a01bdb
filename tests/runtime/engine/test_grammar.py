"""Whatever a grammar allows has the requested format: random walks over the allowed tokens."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported, InvalidSchema
from mlxbuild.runtime.engine.structured_output.grammar import ConstraintFailed
from mlxbuild.runtime.engine.structured_output.json_schema import grammar_of
from mlxbuild.runtime.engine.structured_output.schema_unions import SubschemaComparison
from tests.runtime.engine.schema_walks import LATEST, SCHEMAS, lets_through, walk, with_company, with_reference


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS | SCHEMAS.map(with_reference) | SCHEMAS.map(with_company), st.integers(0, 2**32))
def test_what_is_let_through_is_valid_or_the_schema_is_refused(schema: Any, seed: int) -> None:
    try:
        text = walk(schema, seed)
    except (FormatNotSupported, ConstraintFailed):
        return
    if text is not None:
        jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)


RECURSIVE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"n": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["n", "kids"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/tree",
}
HONOURED: dict[str, dict[str, Any]] = {
    "any object": {"type": "object"},
    "recursive": RECURSIVE,
    "itself": {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
    "may stop at any depth": {
        "$defs": {
            "a": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"b": {"$ref": "#/$defs/a"}},
                        "required": ["b"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            }
        },
        "$ref": "#/$defs/a",
    },
    "told apart": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": kind}, "size": size}, "required": ["kind", "size"]}
            for kind, size in (("a", {"type": "integer"}), ("b", {"type": "string"}))
        ]
    },
    "unknown keywords": {
        "type": "string",
        "discriminator": {"x": 1},
        "nullable": True,
        "x-guidance": {"lenient": True},
    },
    "huge": {
        "type": "object",
        "properties": {f"field_{n}": {"enum": [f"value_{n}_{m}" for m in range(20)]} for n in range(300)},
        "required": ["field_299"],
        "additionalProperties": False,
    },
    "draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "integer"}, {"type": "boolean"}],
        "additionalItems": False,
        "minItems": 2,
    },
}


@pytest.mark.parametrize("name", HONOURED)
def test_nasty_schemas_that_are_honoured(name: str) -> None:
    schema = HONOURED[name]
    texts = [walk(schema, seed, longest=1500) for seed in range(6)]
    assert any(texts)
    for text in texts:
        if text is not None:
            jsonschema.validate(json.loads(text), {**schema, "$schema": schema.get("$schema", LATEST)})


REFUSED: dict[str, tuple[Any, str]] = {
    "not": ({"not": {"type": "string"}}, 'Unimplemented keys: \\["not"\\]'),
    "not, made lenient": ({"x-guidance": {"lenient": True}, "not": {}}, "Unimplemented keys"),
    "not, deeper": ({"properties": {"a": {"x-guidance": {"lenient": True}, "not": {}}}}, "Unimplemented keys"),
    "if": ({"if": {"type": "string"}, "then": {"minLength": 1}}, "Unimplemented keys"),
    "unique": ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    "oneOf that overlaps": ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
    "a pattern that is none": ({"type": "string", "pattern": "("}, "regex parse error"),
    "multiple": ({"type": "integer", "multipleOf": 2**31}, "`multipleOf` is above 100,000"),
    "multiple that takes seconds": ({"type": "integer", "multipleOf": 999_979}, "`multipleOf` is above 100,000"),
    "multiples side by side": (
        {"properties": {f"p{number}": {"type": "integer", "multipleOf": 9973 - number} for number in range(20)}},
        "`multipleOf` is above 100,000, alone or with others",
    ),
    "a bound that no number near it is": (
        {"type": "number", "minimum": 1e300},
        "no number near it can be represented exactly",
    ),
    "a bound at the end of all floats": ({"type": "number", "minimum": 1.7976931348623157e308}, "no number near it"),
    "multiple with decimals": ({"type": "number", "multipleOf": 2147.483648}, "`multipleOf` is above 100,000"),
    "multiples together": (
        {"type": "integer", "allOf": [{"multipleOf": 99991}, {"multipleOf": 99989}]},
        "`multipleOf` is above 100,000",
    ),
    "unsatisfiable": ({"type": "string", "minLength": 5, "maxLength": 2}, "Unsatisfiable"),
    "unsatisfiable object": ({"type": "object", "required": ["a"], "additionalProperties": False}, "Unsatisfiable"),
    "nothing": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable"),
    "look-around": ({"type": "string", "pattern": "(?=a)b"}, "regex"),
    "elsewhere": ({"$ref": "https://example.org/schema"}, "not present"),
    "nowhere": ({"$ref": "#/$defs/missing"}, "does not exist"),
    "counted free names": ({"type": "object", "minProperties": 2}, "minProperties"),
    "unknown draft": ({"$schema": "https://example.org/mine", "type": "integer"}, "not present"),
    "needs itself": (
        {
            "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}, "required": ["b"]}},
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "required": ["a"],
        },
        "ever ends",
    ),
    "needs one of itself": (
        {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]}},
        "ever ends",
    ),
    "too large": ({"enum": [f"value {number}" for number in range(20_000)]}, "characters, above 200,000"),
    "too many optional properties": ({"properties": {f"p{n}": {"type": "string"} for n in range(451)}}, "450 optional"),
    "too many in an open object": (
        {"items": {"properties": dict.fromkeys(map(str, range(3000)), True), "additionalProperties": True}},
        "450 optional",
    ),
    "many ways into itself": (
        {
            "$defs": {
                f"d{n}": {
                    "anyOf": [
                        {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/d{m % 40}"}}
                        for m in (n + 1, n + 7, n + 11)
                    ]
                }
                for n in range(40)
            },
            "$ref": "#/$defs/d0",
        },
        "ever ends",
    ),
    "endless": ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "ever ends"),
}


@pytest.mark.parametrize("required", [[], ["p450"]], ids=["optional", "one between is required"])
@pytest.mark.parametrize("more", [{}, {"additionalProperties": True}], ids=["closed", "open"])
def test_as_many_optional_properties_as_are_taken_can_be_written(required: list[str], more: dict[str, Any]) -> None:
    names = [f"p{n}" for n in range(901 if required else 450)]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": required}
    for written in ([*names[:1], *required], [*names[7:8], *required, names[-1]]):
        assert lets_through({**schema, **more}, "{" + ",".join(f'"{name}":1' for name in written) + "}")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_is_refused_with_its_reason(name: str) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(FormatNotSupported, match=reason):
        walk(schema)


@pytest.mark.parametrize(
    ("schema", "place"),
    [({"type": "objekt"}, "#/type"), ({"properties": {"a": {"minLength": -1}}}, "#/properties/a/minLength")],
)
def test_a_schema_that_is_none_is_refused_with_its_place(schema: Any, place: str) -> None:
    with pytest.raises(InvalidSchema, match="not valid") as caught:
        walk(schema)
    assert caught.value.where == place


@pytest.mark.parametrize("schema", [{"required": ["\ud800"]}, {"properties": {"\ud800": {}}}, {"const": "a\udc00"}])
def test_a_schema_with_half_a_character_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidSchema, match="half of a surrogate pair"):
        walk(schema)


def test_a_schema_that_nests_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(2000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(FormatNotSupported, match="deep"):
        walk(schema)


def choice(count: int, optional: int, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Alternatives between objects, each with its own properties."""
    kinds = {"kind": {"type": "string"}} if "kind" in required else {}
    return {
        "type": "array",
        "items": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {**kinds, **{f"p{n}_{m}": {"type": "integer"} for m in range(optional)}},
                    "required": list(required),
                }
                for n in range(count)
            ]
        },
    }


@pytest.mark.parametrize("schema", [choice(25, 20), choice(8, 60), choice(100, 20, ("kind",))])
def test_a_choice_of_as_many_objects_as_are_taken_can_be_begun(schema: dict[str, Any]) -> None:
    assert lets_through(schema, '[{"p1_0":1}]' if "kind" not in str(schema) else '[{"kind":"x","p1_0":1}]')


@pytest.mark.parametrize("schema", [choice(26, 20), choice(9, 60)])
def test_a_choice_of_too_many_objects_is_refused_before_the_answer_begins(schema: dict[str, Any]) -> None:
    with pytest.raises(FormatNotSupported, match=r"`anyOf` of .* objects has more properties") as caught:
        walk(schema)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{}] * 40_000},
        {"oneOf": [{"enum": [n * 1000 + m for m in range(300)]} for n in range(80)]},
        {"required": ["p"], "properties": {"p": {"oneOf": [{"type": "string"}, {"enum": list(range(30_000))}]}}},
    ],
)
def test_schemas_that_could_be_looked_at_without_end(schema: dict[str, Any]) -> None:
    """Each of them once took ten seconds or minutes."""
    assert "x-guidance" in grammar_of(schema)


def test_what_takes_too_many_comparisons_is_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"enum": [n, n + 0.5]} for n in range(20)]
    assert SubschemaComparison({}).are_disjoint(parts)
    assert not SubschemaComparison({}).are_disjoint([*parts, {"const": 3.0}])
    assert SubschemaComparison({}).are_disjoint([{"const": True}, {"const": 1}, {"const": [1]}, {"const": {"a": 1}}])
    monkeypatch.setattr("mlxbuild.runtime.engine.structured_output.schema_unions._MOST_STEPS", 100)
    assert not SubschemaComparison({}).are_disjoint(parts)
