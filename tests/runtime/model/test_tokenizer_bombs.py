"""A tokenizer whose expressions try too many ways to split is refused when it is opened, and does not hang."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.model.tokenizer import Tokenizer, TokenizerUnreadable
from tests.runtime.tiny_folders import byte_tokenizer

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")


def write(file: Path, pattern: str, kind: str = "pre_tokenizer") -> Path:
    document = json.loads(byte_tokenizer().to_str())
    split: dict[str, Any] = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    if kind == "normalizer":
        split = {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}
        document["normalizer"] = split
    else:
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, document["pre_tokenizer"]]}
    file.write_text(json.dumps(document))
    return file


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pre_tokenizer", "normalizer"])
@pytest.mark.parametrize(
    "pattern",
    [
        r"^(([a-zA-Z ]+)+)+$",  # the library gives up on it
        r"(?:[a-z]{1,3}){1,9}[0-9]|.",  # tries nearly as many ways as it may, at each place
        r"(?:\s{1,3}){1,9}[0-9]|.",
    ],
)
def test_what_takes_too_long_to_split_is_refused(tmp_path: Path, pattern: str, kind: str) -> None:
    file = write(tmp_path / "tokenizer.json", pattern, kind)
    with pytest.raises(TokenizerUnreadable, match=r"takes too long|cannot split") as caught:
        Tokenizer.read(file)
    assert caught.value.where == str(file)
    assert caught.value.hint is not None


@pytest.mark.parametrize("pattern", [LLAMA3, QWEN2, r"\s+(?!\S)|\S+"])
def test_usual_expressions_are_taken(tmp_path: Path, pattern: str) -> None:
    tokenizer = Tokenizer.read(write(tmp_path / "tokenizer.json", pattern))
    assert tokenizer.decode(tokenizer.encode("How are you, 1234 of you?\n\n")) == "How are you, 1234 of you?\n\n"


def test_a_text_on_which_the_library_gives_up_is_an_error_of_the_tree(tmp_path: Path) -> None:
    tokenizer = Tokenizer.read(write(tmp_path / "tokenizer.json", r"(([üä]+)+)+$|[^üä]+"))  # of no text that is tried
    with pytest.raises(TokenizerUnreadable, match="cannot split a text of 61 characters"):
        tokenizer.encode("üä" * 30 + "!")
