"""Random schemas, and random walks over what their grammars allow."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from hypothesis import strategies as st

from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.grammar import ConstraintFailed, GrammarVocabulary
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.requests import AnswerFormat
from tests.runtime.tiny_folders import byte_tokenizer

STOPS = (0, 1)
ROWS = 300
TOKENIZER = Tokenizer(byte_tokenizer(('{"name": "hello", "n": [1, 2, 30], "é": true, "a\\n": null}' * 20,)))
FACTS = ModelFacts("qwen3", None, ROWS, None, STOPS)
VOCABULARY = GrammarVocabulary(TOKENIZER, FACTS)
LATEST = "https://json-schema.org/draft/2020-12/schema"
CLOSING = tuple('"}]0')


def walk(schema: Mapping[str, Any] | None, seed: int = 0, longest: int = 400) -> str | None:
    """A random text that the grammar allows; None if it would not end."""
    constraint = VOCABULARY.constrain(answer_grammar(FACTS, VOCABULARY, format=AnswerFormat(schema)))
    dice, tokens = random.Random(seed), list[int]()
    closing = [token for text in CLOSING if (token := TOKENIZER.token_id(text)) is not None]
    while len(tokens) < longest:
        logits: Any = constraint.mask(mx.zeros((1, ROWS)))[0].tolist()
        allowed = [token for token, logit in enumerate(logits) if logit == 0]
        if allowed[0] in STOPS and (len(tokens) > 20 or dice.random() < 0.5):
            assert [token for token in STOPS if token in allowed] == list(STOPS)
            return TOKENIZER.decode(tokens)
        ends = [token for token in closing if token in allowed]
        choices = ends if ends and len(tokens) > 40 else [token for token in allowed if token not in STOPS]
        token = dice.choice(choices or list(STOPS))
        constraint.advance(token)
        if token in STOPS:
            return TOKENIZER.decode(tokens)
        tokens.append(token)
    return None


NAMES = st.sampled_from(["a", "b", "name", "é", "a\nb", 'q"', "a/b", "\\", "\x7f"])
STRINGS = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={"minLength": st.integers(0, 3), "maxLength": st.integers(3, 9)},
) | st.sampled_from(
    [
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"type": "string", "pattern": "x+y?"},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "pattern": "^é.$", "maxLength": 2},
        {"type": "string", "format": "password", "maxLength": 3},
    ]
)
NUMBERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={"minimum": st.integers(-20, 3), "maximum": st.integers(3, 50), "exclusiveMinimum": st.integers(-9, 0)},
) | st.sampled_from(
    [
        {"type": "integer", "multipleOf": 7},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "integer", "minimum": 2**60, "exclusiveMaximum": 2**60 + 2048},
        {"type": "integer", "minimum": 2**53 + 3},
        {"type": "number", "minimum": 2**53 + 1, "maximum": 2**60 + 1},
        {"type": "number", "minimum": 0.1, "maximum": 123456789.12345679},
        {"maximum": -(2**63) - 1},
    ]
)
VALUES: Any = st.sampled_from(
    [
        *(None, True, 0, -1.5, "", 'a"b', "é\n", [1, "x"], {"k": [None]}),
        *(2**53 + 1, 2**60, 123456789.12345679, 10**30, "a\0b", "\x7f", {"\x1b": "\x01"}),
    ]
)
PLAIN: Any = st.one_of(
    STRINGS,
    NUMBERS,
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"], "maxLength": 3}]),
    VALUES.map(lambda value: {"const": value}),
    st.lists(VALUES, min_size=1, max_size=3, unique_by=repr).map(lambda values: {"enum": values}),
)


@st.composite
def objects(draw: Any, inner: Any) -> Any:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema["required"] = [name for name in properties if draw(st.booleans())]
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(st.sampled_from([False, True]) | inner)
    if draw(st.integers(0, 5)) == 0:
        schema["patternProperties"] = {"^[a-c]": draw(inner)}
    if draw(st.booleans()):
        schema["maxProperties"] = len(properties) + 1
    return schema


def arrays(inner: Any) -> Any:
    return st.fixed_dictionaries(
        {"type": st.just("array"), "items": inner},
        optional={
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(2, 3),
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
        },
    )


SCHEMAS: Any = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"oneOf": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
    ),
    max_leaves=6,
)


def with_reference(part: Any) -> dict[str, Any]:
    """The schema by reference, and once more below itself."""
    whole = {"type": "object", "properties": {"part": {"$ref": "#/$defs/part"}, "more": {"$ref": "#"}}}
    return {"$defs": {"part": part}, **whole, "required": ["part"], "additionalProperties": False}


def with_company(part: Any) -> dict[str, Any]:
    """The schema by reference, beside others that may constrain the same properties."""
    return {
        "$defs": {"part": part},
        "allOf": [{"$ref": "#/$defs/part"}, {"properties": {"more": {"type": "integer"}}}],
        "properties": {"again": {"$ref": "#/$defs/part", "description": "Once more."}},
    }


def lets_through(schema: Any, text: str) -> bool:
    constraint = VOCABULARY.constrain(answer_grammar(FACTS, VOCABULARY, format=AnswerFormat(schema)))
    try:
        for token in [*TOKENIZER.encode(text), STOPS[1]]:
            constraint.advance(token)
    except ConstraintFailed:
        return False
    return True
