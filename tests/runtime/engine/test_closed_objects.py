"""Objects that list their properties are closed, unless the schema allows others or another subschema applies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.engine.schema_walks import lets_through, walk

A: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
MORE = '{"a":1,"x":2}'
CLOSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "plain": (A, '{"a":1}', MORE),
    "nothing listed": ({"type": "object", "properties": {}}, "{}", '{"x":2}'),
    "below another": ({"type": "array", "items": A}, '[{"a":1}]', f"[{MORE}]"),
    "by a reference": ({"$defs": {"A": A}, "$ref": "#/$defs/A"}, '{"a":1}', MORE),
    "by a described reference": (
        {"$defs": {"A": A}, "type": "array", "items": {"$ref": "#/$defs/A", "description": "One."}},
        '[{"a":1}]',
        f"[{MORE}]",
    ),
    "one of several": ({"anyOf": [A, B, {"type": "null"}]}, '{"b":1}', '{"b":1,"x":2}'),
    "one that is told apart": (
        {
            "oneOf": [
                {"properties": {"kind": {"const": kind}}, "required": ["kind"], "type": "object"} for kind in ("k", "l")
            ]
        },
        '{"kind":"l"}',
        '{"kind":"l","x":2}',
    ),
    "one requires what it does not list": ({**A, "required": ["a", "z"]}, '{"a":1,"z":[]}', '{"a":1,"z":[],"x":2}'),
    "a property that is called like a keyword": (
        {"type": "object", "properties": {"const": A, "allOf": A}},
        '{"const":{"a":1}}',
        f'{{"const":{MORE}}}',
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_what_lists_its_properties_is_closed(name: str) -> None:
    schema, fits, too_many = CLOSED[name]
    assert lets_through(schema, fits)
    assert not lets_through(schema, too_many)


OPEN: dict[str, tuple[dict[str, Any], str]] = {
    "it says so": ({**A, "additionalProperties": True}, MORE),
    "it says of what kind": ({**A, "additionalProperties": {"type": "integer"}}, MORE),
    "it lists nothing": ({"type": "object"}, MORE),
    "it has patterns": ({**A, "patternProperties": {"^x": {"type": "integer"}}}, MORE),
    "all of several": ({"allOf": [A, B]}, '{"a":1,"b":2}'),
    "all of several by reference": (
        {"$defs": {"A": A, "B": B}, "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
        '{"a":1,"b":2}',
    ),
    "beside a reference": ({"$defs": {"A": A}, "$ref": "#/$defs/A", **B}, '{"a":1,"b":2}'),
    "beside several": ({**A, "anyOf": [B, {"required": ["a"]}]}, '{"a":1,"b":2}'),
    "its parent requires more": ({"required": ["b"], "anyOf": [A, {"type": "object"}]}, '{"a":1,"b":2}'),
    "it counts more than it lists": ({**A, "required": ["a"], "minProperties": 2}, MORE),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_others_have_a_say_in_stays_open(name: str) -> None:
    schema, text = OPEN[name]
    assert lets_through(schema, text)


def test_a_recursive_model_of_a_client_is_closed_at_every_depth() -> None:
    tree = {
        "$defs": {
            "Node": {
                "properties": {
                    "name": {"title": "Name", "type": "string"},
                    "kids": {"items": {"$ref": "#/$defs/Node"}, "title": "Kids", "type": "array"},
                },
                "required": ["name", "kids"],
                "title": "Node",
                "type": "object",
            }
        },
        "$ref": "#/$defs/Node",
    }
    assert lets_through(tree, '{"name":"a","kids":[{"name":"b","kids":[]}]}')
    assert not lets_through(tree, '{"name":"a","kids":[{"name":"b","kids":[],"x":1}]}')
    assert any(walk(tree, seed) for seed in range(4))
