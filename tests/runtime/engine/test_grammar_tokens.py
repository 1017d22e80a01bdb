"""A grammar follows a model's tokens, whatever their boundaries, and allows no control token as text."""

from __future__ import annotations

import json
from typing import Any

import mlx.core as mx
import pytest
import tokenizers

from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import ConstraintFailed, GrammarVocabulary
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.requests import AnswerFormat
from tests.runtime.engine.schema_walks import FACTS, ROWS, STOPS, TOKENIZER, VOCABULARY, lets_through


def test_a_name_cannot_be_spelled_otherwise_to_escape_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "é": {"type": "integer"}},
        "additionalProperties": True,
    }
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
    with pytest.raises(ConstraintFailed):
        constraint.advance(STOPS[0])
    with pytest.raises(ConstraintFailed):
        constraint.mask(logits)


def sentencepiece_like() -> Tokenizer:
    """A vocabulary of words that begin with ▁, and bytes for everything else."""
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
