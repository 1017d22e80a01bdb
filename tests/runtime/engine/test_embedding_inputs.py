"""Inputs get the model's prompt, and are truncated without losing special tokens, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers

from mlxbuild.runtime.engine.embedding.inputs import InputUnusable, rows_of
from mlxbuild.runtime.model.facts import EmbeddingFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "query", ":"]
FACTS = EmbeddingFacts("cls", is_encoder=True, prompts={"query": "query: ", "document": ""})
CLS, SEP, A, B, C = 1, 2, 4, 5, 6


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A tokenizer of words, with [CLS] before and [SEP] after them."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    backend: Any = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return Tokenizer(backend)


def rows(tokenizer: Tokenizer, inputs: Any, facts: EmbeddingFacts = FACTS, **more: Any) -> list[list[int]]:
    return rows_of(tokenizer, facts, inputs, **{"longest": 5, "truncates": True, **more})


def test_texts_are_cut_inside_their_special_tokens_and_ids_at_their_end(tokenizer: Tokenizer) -> None:
    assert rows(tokenizer, ["a b c", "a b c a b c", "", (9, 8, 7, 6, 5, 4)]) == [
        [CLS, A, B, C, SEP],
        [CLS, A, B, C, SEP],
        [CLS, SEP],
        [9, 8, 7, 6, 5],
    ]
    assert rows(tokenizer, ["a b c"], longest=None) == [[CLS, A, B, C, SEP]]
    assert rows(tokenizer, ["a b c"], longest=2) == [[CLS, A]]


def test_a_prompt_goes_before_texts_of_its_kind(tokenizer: Tokenizer) -> None:
    assert rows(tokenizer, ["a", [A]], prompt="query") == [[CLS, 7, 8, A, SEP], [A]]
    default = EmbeddingFacts("cls", prompts=FACTS.prompts, default_prompt="query")
    assert rows(tokenizer, ["a"], default) == [[CLS, 7, 8, A, SEP]]
    assert rows(tokenizer, ["a"], default, prompt="document") == [[CLS, A, SEP]]
    with pytest.raises(InputUnusable, match="no prompt `poem`") as caught:
        rows(tokenizer, ["a"], prompt="poem")
    assert caught.value.hint == "its prompts are: query, document"


def test_what_is_too_long_or_empty_is_told_with_its_number(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputUnusable, match="input 2 has 8 tokens, and the model reads 5"):
        rows(tokenizer, ["a", "a b c a b c"], truncates=False)
    with pytest.raises(InputUnusable, match="input 1 has no tokens"):
        rows(tokenizer, [()])
