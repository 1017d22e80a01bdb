"""Schemas of gates judge as jsonschema does, and end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from mlxbuild.toolchain.core.json_schema import complaint

SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]},
    {"additionalProperties": False, "properties": {"a": {}}, "patternProperties": {"^b+$": {"type": "string"}}},
    {"additionalProperties": {"type": "null"}, "patternProperties": {"^b": {}}},
    {"type": "array", "items": {"type": "string", "pattern": "^a*b?$"}, "uniqueItems": True, "maxItems": 3},
    {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/list"}], "$defs": {"list": {"items": {"$ref": "#"}}}},
    {"properties": {"a": {}}, "unevaluatedProperties": False},
    {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}, "not": {"required": ["bb"]}},
)
NAMES = st.sampled_from(["a", "b", "bb", "c", "ab"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "a", "aab", "ba"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.sampled_from(SCHEMAS))
def test_the_verdict_is_that_of_jsonschema(document: Any, schema: dict[str, Any]) -> None:
    told = complaint(document, schema)
    found = best_match(validator_for(schema)(schema).iter_errors(document))
    assert (told is None) is (found is None)
    if told is not None:
        assert told.startswith(f"the answer is not of the schema, at {found.json_path}: ")


DOUBLING = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {"d60": {"type": "null"}}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("document", "schema", "told"),
    [
        ("a" * 50 + "!", {"pattern": r"^(([a-zA-Z ]+)+)+$"}, "does not match"),
        ({"a" * 50 + "!": 1}, {"patternProperties": {r"^(a+)+$": False}, "additionalProperties": False}, "unexpected"),
        (1, {"$ref": "#/$defs/d0", "$defs": DOUBLING}, "takes too long"),
        (1, {"$ref": "#"}, "takes too long"),
        ([{"a": n} for n in range(20_000)], {"uniqueItems": True}, "takes too long"),
        (1, {"$ref": "http://127.0.0.1:9/schema.json"}, "names another one"),
        ("a", {"pattern": "a(?=b)"}, r"the pattern `a\(\?=b\)` cannot be used: it uses lookahead"),
        ({}, {"unevaluatedProperties": False, "allOf": [{"patternProperties": {"a": {}}}]}, "not checked together"),
        (1, {"type": "objekt"}, "the schema of the gate is none"),
    ],
)
def test_what_is_refused_ends(document: Any, schema: dict[str, Any], told: str) -> None:
    found = complaint(document, schema)
    assert found is not None

    assert re.search(told, found), found
