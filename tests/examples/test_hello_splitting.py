"""How the example splits texts: as when it was trained, and long rows of blanks in no more time than others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import PreTokenizer, Split

MODEL = Path(__file__).resolve().parents[2] / "examples" / "hello" / "model" / "tokenizer.json"
TRAINED = r" ?\p{Ll}+|\p{Lu}\p{L}*| ?[\p{Lo}\p{Lm}\p{Lt}]+|\p{N}|\s*[\r\n]+| ?[^\s\p{L}\p{N}]+|\s"
"""It looks for the end of a line from each blank of a row."""


def splitter(expression: str) -> PreTokenizer:
    return Split(Regex(expression), behavior="isolated")


NOW = splitter(json.loads(MODEL.read_text())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
BEFORE = splitter(TRAINED)


@given(st.text(st.sampled_from(" \n\r\t\x0b\u00a0\u2028aA1.\u00e9\u6f22\u0301"), max_size=40) | st.text(max_size=40))
def test_texts_are_split_as_when_it_was_trained(text: str) -> None:
    assert NOW.pre_tokenize_str(text) == BEFORE.pre_tokenize_str(text)


@pytest.mark.timeout(60)
def test_a_long_row_of_blanks_is_split_in_no_time() -> None:
    assert len(Tokenizer.from_file(str(MODEL)).encode(" " * 300_000).ids) == 300_000  # it took six minutes
