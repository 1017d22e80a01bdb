"""Converts a GGUF file's vocabulary to the vocabulary and the added tokens of tokenizer.json."""

from __future__ import annotations

from typing import Any

from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.vocabulary import TokenType, Vocabulary

_SPECIAL = frozenset({TokenType.CONTROL, TokenType.UNKNOWN})


def ids_by_text(metadata: Metadata, vocabulary: Vocabulary) -> dict[str, int]:
    """Token text to id. Fillers that llama.cpp's converter wrote for missing tokens are left out.

    Raises:
        GgufMetadata: two tokens have the same text.
    """
    ids: dict[str, int] = {}
    for number, (text, kind) in enumerate(zip(vocabulary.texts, vocabulary.types, strict=True)):
        if not text or (kind == TokenType.UNUSED and text == f"[PAD{number}]"):
            continue
        if text in ids:
            metadata.fail(f"tokens {ids[text]} and {number} of the vocabulary have the same text")
        ids[text] = number
    return ids


def added_tokens(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The added tokens, which are matched in a text before anything else, in the order of their ids.

    Control tokens and those that begin and end texts are special; user-defined tokens are not.
    """
    ends = {vocabulary.special.bos, vocabulary.special.eos}
    return [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != TokenType.USER_DEFINED,
        }
        for number, (text, kind) in enumerate(zip(vocabulary.texts, vocabulary.types, strict=True))
        if text and (kind in _SPECIAL or kind == TokenType.USER_DEFINED or number in ends)
    ]
