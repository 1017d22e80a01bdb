"""A tokenizer whose expressions try too many ways to split is refused when it is opened, and does not hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.runtime.model.tokenizer import Tokenizer, TokenizerUnreadable
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
        r"(?:[a-z]{1,3}){1,11}[0-9]|.",  # tries nearly as many ways as it may, at each place
        r"(?:\s{1,3}){1,11}[0-9]|.",
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


@pytest.mark.timeout(60)
def test_of_a_text_that_is_far_too_long_little_is_split(tmp_path: Path) -> None:
    """An expression that takes the square of a row of blanks; of all of them it would take hours."""
    tokenizer = Tokenizer.read(write(tmp_path / "tokenizer.json", r"\s*[\r\n]+|\s|\S+"))
    assert len(tokenizer.encode(" " * 2_000_000, most=100)) > 100


ENDLESS = """\
import sys
from pathlib import Path
from mlxbuild.runtime.model import splitting
from mlxbuild.runtime.model.tokenizer import Tokenizer

splitting.SECONDS = 1.0
tokenizer = Tokenizer.read(Path(sys.argv[1]))
print(len(tokenizer.encode("of usual texts")))
tokenizer.encode("üä" * 5000)
"""


@pytest.mark.timeout(60)
def test_a_text_that_takes_for_ever_is_given_up_and_the_process_ends(tmp_path: Path) -> None:
    """Tried in a process of its own: the thread that splits goes on until that ends."""
    file = write(tmp_path / "tokenizer.json", r"(?:[üä]{1,3}){1,9}[0-9]|.")  # no text that is tried has such letters
    done = subprocess.run([sys.executable, "-c", ENDLESS, file], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert int(done.stdout) > 0
    assert "TokenizerUnreadable: tokenizer.json takes too long to split a text of 10,000 characters" in done.stderr


CROWDED = """\
import os, sys, threading
from pathlib import Path
from mlxbuild.runtime.model import splitting
from mlxbuild.runtime.model.tokenizer import Tokenizer, TokenizerUnreadable

splitting.SECONDS = 0.2
tokenizer = Tokenizer.read(Path(sys.argv[1]))
for _ in range(6):
    try:
        tokenizer.encode("üä" * 1000)
    except TokenizerUnreadable:
        pass
print(sum(thread.name == "tokenizer" for thread in threading.enumerate()), flush=True)
os._exit(0)
"""


@pytest.mark.timeout(60)
def test_no_more_texts_are_left_behind_than_there_are_places(tmp_path: Path) -> None:
    file = write(tmp_path / "tokenizer.json", r"(?:[üä]{1,3}){1,9}[0-9]|.")
    done = subprocess.run([sys.executable, "-c", CROWDED, file], capture_output=True, text=True, timeout=50)
    assert done.stdout == "4\n"


def test_both_ways_of_encoding_agree(tmp_path: Path) -> None:
    file = write(tmp_path / "tokenizer.json", QWEN2)
    bounded, watched = Tokenizer.read(file), Tokenizer.read(file, is_watched=True)
    for text in ("", "Hello <|im_end|>", "how are you? " * 50):
        for added in (False, True):
            assert bounded.encode(text, add_special_tokens=added) == watched.encode(text, add_special_tokens=added)
