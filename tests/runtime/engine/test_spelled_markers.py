"""Texts that spell a control token with other tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.requests import AnswerFormat
from tests.runtime.tiny_folders import byte_tokenizer

TOKENIZER = Tokenizer(byte_tokenizer())
STOP = TOKENIZER.token_id("<|im_end|>")
FACTS = ModelFacts(
    "any", None, TOKENIZER.vocabulary_size, None, (STOP or 0,), think_start="<think>", think_end="</think>"
)
VOCABULARY = GrammarVocabulary(TOKENIZER, FACTS)


def spelled(text: str) -> list[int]:
    """A text in single-letter tokens."""
    return [token for letter in text for token in TOKENIZER.encode(letter)]


def lets_through(grammar: str, tokens: Sequence[int]) -> bool:
    constraint = VOCABULARY.constrain(grammar)
    for token in tokens:
        logits: Any = constraint.mask(mx.zeros((1, TOKENIZER.vocabulary_size)))
        if logits[0, token].item() != 0:
            return False
        constraint.advance(token)
    return True


def test_a_document_may_say_what_a_marker_says() -> None:
    values = ["</think> <|im_end|>", "<tool_call>"]
    grammar = answer_grammar(FACTS, VOCABULARY, format=AnswerFormat({"enum": values}))
    for value in values:
        assert lets_through(grammar, [*spelled(json.dumps(value)), STOP or 0])
        assert not lets_through(grammar, TOKENIZER.encode(json.dumps(value)))


def test_a_thought_does_not_spell_its_end() -> None:
    grammar = answer_grammar(FACTS, VOCABULARY, format=AnswerFormat({"const": 1}), thinking="open")
    end = TOKENIZER.token_id("</think>") or 0
    assert lets_through(grammar, [*spelled("Hm </thin </thinks>"), end, *spelled("1"), STOP or 0])
    assert not lets_through(grammar, [*spelled("Hm </think>")])
