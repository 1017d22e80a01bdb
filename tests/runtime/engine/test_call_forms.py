"""Calls that a grammar lets through are read by mlx-lm's parser of that form, with arguments of their schema."""

from __future__ import annotations

import random
from typing import Any

import jsonschema
import mlx.core as mx
import pytest
import tokenizers

from runtime.engine.answer_form import answer_grammar
from runtime.engine.call_bodies import BODIES
from runtime.engine.grammar import GrammarVocabulary
from runtime.engine.json_schema import FormatNotSupported
from runtime.engine.tool_calls import parse_tool_calls
from runtime.model.facts import ModelFacts
from runtime.model.mlx_lm_package import submodule
from runtime.model.tokenizer import Tokenizer
from runtime.protocol.requests import ToolChoice
from tests.runtime.tiny_folders import byte_tokenizer

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
NOTE = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
SCHEMAS = {"get_weather": PARAMETERS, "take-note": NOTE, "wait": NOTHING}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()]
STOP = 1


def machinery(parser: str, *, marked: bool) -> tuple[ModelFacts, Tokenizer, GrammarVocabulary]:
    """A model of that form, whose markers are tokens of their own or spelled."""
    backend: Any = byte_tokenizer()
    module = submodule(f"tool_parsers.{parser}")
    if marked:
        tags = ["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</parameter>", "[ARGS]", "<|sep|>"]
        markers = [module.tool_call_start, module.tool_call_end, *tags]
        backend.add_tokens([tokenizers.AddedToken(text, special=True) for text in markers if text])
    tokenizer = Tokenizer(backend)
    facts = ModelFacts(
        "any",
        None,
        tokenizer.vocabulary_size,
        None,
        (STOP,),
        tool_parser=parser,
        tool_call_start=module.tool_call_start,
        tool_call_end=module.tool_call_end,
    )
    return facts, tokenizer, GrammarVocabulary(tokenizer, facts)


def walk(tokenizer: Tokenizer, constraint: Any, seed: int, hurry: tuple[int, ...]) -> str | None:
    """A random text that the grammar lets through; it hurries to what ends texts. None when it would not end."""
    dice, tokens = random.Random(seed), list[int]()
    while len(tokens) < 400:
        logits: Any = constraint.mask(mx.zeros((1, tokenizer.vocabulary_size)))[0].tolist()
        allowed = [token for token, logit in enumerate(logits) if logit == 0]
        if STOP in allowed:
            return tokenizer.decode(tokens)
        soon = [token for token in hurry if token in allowed]
        token = dice.choice(soon if soon and len(tokens) > 60 and dice.random() < 0.9 else allowed)
        constraint.advance(token)
        tokens.append(token)
    return None


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("parser", sorted(BODIES))
def test_forced_calls_are_read_as_they_were_meant(parser: str, marked: bool) -> None:
    facts, tokenizer, vocabulary = machinery(parser, marked=marked)
    endings = [tokenizer.token_id(text) for text in ("</arg_value>", "</parameter>", '"', "}", "]")]
    seen = set[str]()
    for name, schema in SCHEMAS.items():
        choice = ToolChoice("required", name)
        grammar = answer_grammar(facts, vocabulary, tools=TOOLS, tool_choice=choice)
        for seed in range(6):
            hurry = tuple(token for token in endings if token is not None)
            text = walk(tokenizer, vocabulary.constrain(grammar), seed, hurry)
            if text is None:
                continue
            written = text.strip().removeprefix(facts.tool_call_start or "").removesuffix(facts.tool_call_end or "")
            calls = parse_tool_calls(parser, written, TOOLS)
            assert calls is not None, text
            assert [call.name for call in calls] == [name]
            jsonschema.validate(dict(calls[0].arguments), schema)
            seen.add(name)
    assert seen >= {"get_weather", "wait"}


@pytest.mark.parametrize("parser", ["qwen3_coder", "glm47", "minimax_m2"])
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
    facts, _, vocabulary = machinery(parser, marked=False)
    tools = [{"function": {"name": "f", "parameters": parameters}}]
    with pytest.raises(FormatNotSupported, match=told):
        answer_grammar(facts, vocabulary, tools=tools, tool_choice=ToolChoice("required"))


def test_types_that_a_parser_would_guess_are_refused() -> None:
    tools = [{"function": {"name": "f", "parameters": {"properties": {"a": {"type": ["integer", "null"]}}}}}]
    facts, _, vocabulary = machinery("qwen3_coder", marked=False)
    with pytest.raises(FormatNotSupported, match="a single `type`"):
        answer_grammar(facts, vocabulary, tools=tools, tool_choice=ToolChoice("required"))
    facts, _, vocabulary = machinery("glm47", marked=False)
    assert answer_grammar(facts, vocabulary, tools=tools, tool_choice=ToolChoice("required"))
