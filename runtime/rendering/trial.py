"""Tests whether a tokenizer splits texts in time, as its regular expressions come from untrusted artifacts.

Oniguruma, which matches them, tries ten million ways at each position of a text before it gives up, and holds the GIL
meanwhile. Only the splitting is tested, with an empty vocabulary, so that a trial is fast.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mlxbuild.runtime.rendering.messages import Failure, TemplateFault

_LENGTH = 1000
_TEXTS = (
    *(
        "a",
        "A",
        "aA",
        "7",
        " ",
        "\n",
        "\t ",
        ".",
        "-",
        "_",
        "é",
        "漢",
        "0a",
        "a ",
        " a",
        "a.",
        "(",
        '"',
        "'s",
        "\u0301",
    ),
    *(
        "Name a prime number. ",
        "How is the weather in Oslo? ",
        '{"city": "Oslo", "celsius": 4}\n',
        "lorem ipsum dolor ",
    ),
)
"""Texts that are repeated up to `_LENGTH`, with each of `_ENDS` appended."""
_ENDS = ("", "!", "\x00")


def try_splitting(splitting: str) -> None:
    """Split many kinds of texts by a tokenizer's normalizer and pre-tokenizer, which are given as JSON.

    Raises:
        Failure: the library gives up on a text, or refuses the normalizer or pre-tokenizer.
    """
    import tokenizers

    document = {"version": "1.0", **json.loads(splitting), "model": {"type": "BPE", "vocab": {}, "merges": []}}
    with _silent():
        try:
            tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
            for text in _TEXTS:
                for end in _ENDS:
                    tokenizer.encode(text * (_LENGTH // len(text)) + end)
        except MemoryError:
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            if not type(error).__name__.startswith("Panic") and not isinstance(error, ValueError):
                raise
            raise Failure(TemplateFault.BROKEN, str(error)) from None


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what Rust writes to stderr when it panics."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
