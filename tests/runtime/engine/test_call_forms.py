"""Calls that a grammar allows are parsed by mlx-lm's parser for that format, with arguments valid in their schema."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.tagged_calls import Tagged
from mlxbuild.runtime.engine.structured_output.tool_call_bodies import BODIES
from mlxbuild.runtime.protocol.requests import AnswerFormat
from tests.runtime.engine.call_walks import CallingModel, calling_model
from tests.runtime.engine.test_tool_parsers import ONE
from tests.runtime.engine.test_tool_parsers import TOOLS as WEATHER

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "São Paulo"], "description": "Where."},
        "days": {"type": "integer", "minimum": 1, "maximum": 99},
        "exact": {"type": "boolean"},
        "near": {"type": "array", "items": {"$ref": "#/$defs/place"}, "maxItems": 2},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"place": {"enum": ["a", "b\n"]}},
}
FLAT = {**PARAMETERS, "properties": {key: PARAMETERS["properties"][key] for key in ("city", "days", "exact")}}
NOTE = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def tool(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("parser", sorted(BODIES))
def test_forced_calls_are_read_as_they_were_meant(parser: str, marked: bool) -> None:
    model = calling_model(parser, marked=marked)
    schemas = {
        "get_weather": FLAT if parser == "function_gemma" else PARAMETERS,
        "take_note" if parser in ("function_gemma", "pythonic") else "take-note": NOTE,
        "wait": NOTHING,
    }
    tools = [tool(name, schema) for name, schema in schemas.items()]
    seen = set[str]()
    for name, schema in schemas.items():
        grammar = model.grammar(tools, name)
        for seed in range(6):
            text = model.walk(grammar, seed)
            if text is None:
                continue
            calls = model.read(text, tools)
            assert [call.name for call in calls] == [name]
            jsonschema.validate(dict(calls[0].arguments), schema)
            seen.add(name)
    assert seen >= {"get_weather", "wait"}


EXAMPLES = 12
BEYOND_FLOATS = re.compile(r"\d[eE]\+?\d{3}")
TEXTS = st.sampled_from(
    ["Oslo", "null", "NULL ", "true", "12", "-1e5", "NaN", "", " a ", '"q"', "[x]", "{", "}", "a</param>b", "é\n", "'"]
)
TEXT_SCHEMAS: Any = st.just({"type": "string"}) | st.lists(TEXTS, min_size=1, max_size=4, unique=True).map(
    lambda texts: {"type": "string", "enum": texts}
)
SCALARS: Any = st.one_of(
    TEXT_SCHEMAS,
    st.sampled_from(
        [
            {"type": "integer", "minimum": -5, "maximum": 120},
            {"type": "number", "minimum": -2, "maximum": 2},
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["integer", "null"], "maximum": 9, "minimum": 0},
            {"type": ["string", "boolean"]},
            {"enum": [1, "1", None, "x", 0.5]},
            {"const": "null"},
            {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
            {},
        ]
    ),
)
REFERENCE = st.just({"$ref": "#/$defs/shared"})
NAMES = st.sampled_from(["a", "b_2", "city"])


@st.composite
def objects(draw: Any, inner: Any) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


VALUES: Any = st.recursive(
    SCALARS | REFERENCE,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 2), "maxItems": st.integers(2, 3)},
        ),
        objects(inner),
    ),
    max_leaves=3,
)


def check(model: CallingModel, parameters: dict[str, Any], seed: int) -> None:
    """A walk is parsed as a call with arguments valid in the schema, or the tool is refused."""
    tools = [tool("look_up", parameters)]
    try:
        grammar = model.grammar(tools)
    except FormatNotSupported:
        event("refused")
        return
    text = model.walk(grammar, seed)
    if text is None:
        event("endless")
        return
    if BEYOND_FLOATS.search(text):
        event("beyond floats")  # any JSON number is allowed; some of mlx-lm's parsers fail on such a one
        return
    event("read")
    calls = model.read(text, tools)
    assert calls, text
    for call in calls:
        assert call.name == "look_up"
        jsonschema.validate(dict(call.arguments), parameters)


@pytest.mark.parametrize("parser", sorted(BODIES))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects(VALUES), SCALARS, st.integers(0, 2**32))
def test_whatever_is_let_through_has_the_schema(
    parser: str, parameters: dict[str, Any], shared: Any, seed: int
) -> None:
    check(calling_model(parser, marked=True), {**parameters, "$defs": {"shared": shared}}, seed)


@pytest.mark.parametrize("parser", [parser for parser, body in sorted(BODIES.items()) if isinstance(body, Tagged)])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects(TEXT_SCHEMAS | st.just({"type": "integer"})), st.integers(0, 2**32))
def test_texts_do_not_spell_what_ends_them_or_their_call(parser: str, parameters: dict[str, Any], seed: int) -> None:
    check(calling_model(parser, marked=False), parameters, seed)


@pytest.mark.parametrize("parser", ["function_gemma", "gemma4"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects(VALUES), SCALARS, st.integers(0, 2**32))
def test_values_do_not_spell_what_ends_them_or_their_call(
    parser: str, parameters: dict[str, Any], shared: Any, seed: int
) -> None:
    check(calling_model(parser, marked=False), {**parameters, "$defs": {"shared": shared}}, seed)


@pytest.mark.parametrize("parser", ["function_gemma", "gemma4", "minicpm5", "muse_spark"])
def test_what_models_write_by_themselves_is_let_through(parser: str) -> None:
    for marked in (True, False):
        model = calling_model(parser, marked=marked)
        assert model.lets_through(model.grammar(WEATHER), ONE[parser][0])


@pytest.mark.parametrize("parser", ["qwen3_coder", "glm47", "minimax_m2", "minicpm5", "muse_spark"])
@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}}, "`minLength` of a tool's text"),
        ({"type": "object", "patternProperties": {"^x": {"type": "string"}}}, "`patternProperties` of a tool's param"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "requires `a`"),
        ({"type": "object", "properties": {"a>b": {"type": "string"}}}, "the name 'a>b'"),
    ],
)
def test_what_a_tagged_form_cannot_hold_is_refused(parser: str, parameters: Any, told: str) -> None:
    with pytest.raises(FormatNotSupported, match=told):
        calling_model(parser, marked=False).grammar([tool("f", parameters)])


@pytest.mark.parametrize(
    ("parser", "schema", "told"),
    [
        ("function_gemma", {"type": "array", "items": {"type": "string"}}, "no arrays and objects"),
        ("function_gemma", {"type": "string", "enum": ["}"]}, "the text '}' of a tool"),
        ("gemma4", {"type": "string", "minLength": 3}, "`minLength` of a tool's value"),
        ("gemma4", {"type": "string", "enum": ['<|"|>']}, "of a tool cannot be written"),
        ("gemma4", {"type": "array"}, "needs a `type`"),
        ("gemma4", {}, "needs a `type`"),
        ("gemma4", {"enum": [[1]]}, "cannot have arrays and objects"),
        ("minicpm5", {"type": "string", "enum": ["null"]}, "the text 'null' of a tool"),
        ("muse_spark", {"type": "string", "enum": ["</atem:parameter>"]}, "'</atem:parameter>' in a value of a tool"),
        ("glm47", {"enum": [1, "</arg_value>"]}, "'</arg_value>' in a value of a tool"),
    ],
)
def test_values_that_a_form_cannot_hold_are_refused(parser: str, schema: Any, told: str) -> None:
    with pytest.raises(FormatNotSupported, match=told):
        calling_model(parser, marked=True).grammar([tool("f", {"type": "object", "properties": {"a": schema}})])


def test_a_call_that_is_not_forced_is_free_where_its_tool_cannot_be_held() -> None:
    model = calling_model("gemma4", marked=True)
    tools = [tool("f", {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}})]
    grammar = answer_grammar(model.facts, model.vocabulary, format=AnswerFormat({"const": 1}), tools=tools)
    assert model.lets_through(grammar, "1")
    assert model.lets_through(grammar, "<|tool_call>call:f{a:'Oslo'}<tool_call|>")
    assert not model.lets_through(grammar, "2")


@pytest.mark.parametrize("name", ["take-note", "class", "2nd", ""])
def test_names_that_are_none_in_python_are_refused(name: str) -> None:
    model = calling_model("pythonic", marked=True)
    with pytest.raises(FormatNotSupported, match="cannot be written"):
        model.grammar([tool(name, NOTHING)])
    with pytest.raises(FormatNotSupported, match="cannot be written"):
        model.grammar([tool("f", {"type": "object", "properties": {name: {"type": "integer"}}})])


def test_types_that_a_parser_would_guess_are_refused() -> None:
    tools = [tool("f", {"properties": {"a": {"type": ["integer", "null"]}}})]
    with pytest.raises(FormatNotSupported, match="a single `type`"):
        calling_model("qwen3_coder", marked=False).grammar(tools)
    assert calling_model("glm47", marked=False).grammar(tools)
