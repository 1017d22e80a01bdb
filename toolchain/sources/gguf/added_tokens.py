"""The vocabulary of a GGUF file as tokenizer.json lists it: what each text's id is, and which are never cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.sources.gguf.metadata import Metadata
from toolchain.sources.gguf.special_tokens import TokenType, special_tokens

_SPECIAL = frozenset({TokenType.CONTROL, TokenType.UNKNOWN})


def ids_by_text(metadata: Metadata, texts: Sequence[str], types: Sequence[int]) -> dict[str, int]:
    """The vocabulary by text. What llama.cpp's converter put where a model's vocabulary has no token is left out.

    Raises:
        GgufMetadata: two tokens have the same text.
    """
    ids: dict[str, int] = {}
    for number, (text, kind) in enumerate(zip(texts, types, strict=True)):
        if not text or (kind == TokenType.UNUSED and text == f"[PAD{number}]"):
            continue
        if text in ids:
            metadata.fail(f"tokens {ids[text]} and {number} of the vocabulary have the same text")
        ids[text] = number
    return ids


def added_tokens(metadata: Metadata, texts: Sequence[str], types: Sequence[int]) -> list[dict[str, Any]]:
    """The tokens that are looked for in a text before all else, in the order of their ids.

    Those that control, and the ones that the metadata names as first or last, are special; what the model's makers
    defined is not. Which are matched with spaces around them is not in a GGUF file.
    """
    named = special_tokens(metadata)
    special = {number for number in (named.bos, named.eos) if number is not None}
    return [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind in _SPECIAL or (number in special and kind != TokenType.USER_DEFINED),
        }
        for number, (text, kind) in enumerate(zip(texts, types, strict=True))
        if text and (kind in _SPECIAL or kind == TokenType.USER_DEFINED or number in special)
    ]
