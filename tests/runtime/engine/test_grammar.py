"""Whatever a grammar lets through has the form that was asked for: random walks over the tokens that it allows."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema
import mlx.core as mx
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.engine.answer_form import answer_grammar
from runtime.engine.grammar import FormLost, GrammarVocabulary
from runtime.engine.json_schema import FormatNotSupported, InvalidSchema
from runtime.model.facts import ModelFacts
from runtime.model.tokenizer import Tokenizer
from runtime.protocol.requests import AnswerFormat
from tests.runtime.tiny_folders import byte_tokenizer

STOPS = (0, 1)
ROWS = 300
TOKENIZER = Tokenizer(byte_tokenizer(('{"name": "hello", "n": [1, 2, 30], "é": true, "a\\n": null}' * 20,)))
FACTS = ModelFacts("qwen3", None, ROWS, None, STOPS)
VOCABULARY = GrammarVocabulary(TOKENIZER, FACTS)
LATEST = "https://json-schema.org/draft/2020-12/schema"
CLOSING = tuple('"}]0')


def walk(schema: Mapping[str, Any] | None, seed: int = 0, longest: int = 400) -> str | None:
    """A random text that the grammar lets through, or None when it would not end."""
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


NAMES = st.sampled_from(["a", "b", "name", "é", "a\nb", 'q"', "a/b", "\\"])
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
    ]
)
NUMBERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={"minimum": st.integers(-20, 3), "maximum": st.integers(3, 50), "exclusiveMinimum": st.integers(-9, 0)},
) | st.just({"type": "integer", "multipleOf": 7})
VALUES: Any = st.sampled_from([None, True, 0, -1.5, "", 'a"b', "é\n", [1, "x"], {"k": [None]}])
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
    schema["additionalProperties"] = draw(st.sampled_from([False, True]) | inner)
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
    """The schema once by reference, and once again below itself."""
    whole = {"type": "object", "properties": {"part": {"$ref": "#/$defs/part"}, "more": {"$ref": "#"}}}
    return {"$defs": {"part": part}, **whole, "required": ["part"], "additionalProperties": False}


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(SCHEMAS | SCHEMAS.map(with_reference), st.integers(0, 2**32))
def test_what_is_let_through_is_valid_or_the_schema_is_refused(schema: Any, seed: int) -> None:
    try:
        text = walk(schema, seed)
    except (FormatNotSupported, FormLost):
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
    "unsatisfiable": ({"type": "string", "minLength": 5, "maxLength": 2}, "Unsatisfiable"),
    "unsatisfiable object": ({"type": "object", "required": ["a"], "additionalProperties": False}, "Unsatisfiable"),
    "nothing": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable"),
    "look-around": ({"type": "string", "pattern": "(?=a)b"}, "regex"),
    "unknown format": ({"type": "string", "format": "hexagon"}, "Unknown format"),
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


def test_a_schema_that_nests_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(2000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(FormatNotSupported, match="deep"):
        walk(schema)


def lets_through(schema: Any, text: str) -> bool:
    constraint = VOCABULARY.constrain(answer_grammar(FACTS, VOCABULARY, format=AnswerFormat(schema)))
    try:
        for token in [*TOKENIZER.encode(text), STOPS[1]]:
            constraint.advance(token)
    except FormLost:
        return False
    return True


def test_a_name_cannot_be_spelled_otherwise_to_escape_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "é": {"type": "integer"}}}
    assert lets_through(schema, '{"a": 1, "é": 2, "b": "x"}')
    for text in ('{"\\u0061": "x"}', '{"\\u00e9": "x"}', '{"b": "x", "a": "x"}', '{"a": 1, "a": "x"}'):
        assert not lets_through(schema, text)


def test_white_space_is_bounded() -> None:
    assert lets_through(None, '{\n        "a" : {\n            "b": [1,\t2]\n  }\n}')
    assert not lets_through(None, "{" + " " * 50 + "}")
    assert not lets_through(None, "{\n\n\n\n}")


def test_control_tokens_and_rows_without_a_token_never_come() -> None:
    constraint = VOCABULARY.constrain(answer_grammar(FACTS, VOCABULARY, format=AnswerFormat({"type": "string"})))
    constraint.advance(TOKENIZER.encode('"')[0])
    logits: Any = constraint.mask(mx.zeros((1, ROWS + 9), dtype=mx.bfloat16))
    assert logits.dtype == mx.bfloat16
    allowed = [token for token, logit in enumerate(logits[0].tolist()) if logit == 0]
    assert not set(allowed) & TOKENIZER.control_tokens()
    assert max(allowed) < TOKENIZER.vocabulary_size
    with pytest.raises(FormLost):
        constraint.advance(STOPS[0])
    with pytest.raises(FormLost):
        constraint.mask(logits)


def sentencepiece_like() -> Tokenizer:
    """Words that begin with ▁, and bytes for all else."""
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["▁", "▁{", "}", '"', "a", "b", ":", "▁1", "12", "▁is"]
    vocabulary = {word: number for number, word in enumerate(["<s>", "</s>", "<unk>", *letters, *words])}
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>")
    )
    backend.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["<s>", "</s>"])
    return Tokenizer(backend)


def test_words_with_their_space_and_single_bytes_are_followed() -> None:
    tokenizer = sentencepiece_like()
    facts = ModelFacts("llama", None, tokenizer.vocabulary_size, None, (1,))
    vocabulary = GrammarVocabulary(tokenizer, facts)
    schema = {"type": "object", "properties": {"é": {"type": "integer"}}, "additionalProperties": False}
    constraint = vocabulary.constrain(answer_grammar(facts, vocabulary, format=AnswerFormat(schema)))
    tokens = [tokenizer.token_id(text) for text in ("▁{", '"', "<0xC3>", "<0xA9>", '"', ":", "▁1", "}", "</s>")]
    for token in tokens:
        assert token is not None
        logits: Any = constraint.mask(mx.zeros((1, tokenizer.vocabulary_size)))
        assert logits[0, token].item() == 0
        constraint.advance(token)
    known = [token for token in tokens[:-1] if token is not None]
    assert json.loads(tokenizer.decode(known)) == {"é": 1}


def test_a_model_without_stop_tokens_is_refused() -> None:
    with pytest.raises(FormatNotSupported, match="no stop token"):
        GrammarVocabulary(TOKENIZER, ModelFacts("qwen3", None, ROWS, None, ()))
