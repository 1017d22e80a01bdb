"""Converts SentencePiece BPE of a GGUF file (`tokenizer.ggml.model` is `llama`) to tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.added_tokens import added_tokens, ids_by_text
from mlxbuild.toolchain.sources.gguf.byte_level import ANOTHER_TOKENIZER
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.merges import MERGES, merges_by_score, written_merges
from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.vocabulary import TokenType, Vocabulary

SCORES: Final = "tokenizer.ggml.scores"
SPACE: Final = "\u2581"
"""The character that stands for a space in SentencePiece."""

_TEXT_TYPES = frozenset({TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED})
_STRIPS_RIGHT = frozenset({"phi3"})
"""Architectures whose special tokens also match the white space after them. No key holds this; llama.cpp decides by the
model's name, too."""
_KEEPS_RIGHT = frozenset({"<unk>", "<s>", "<|endoftext|>"})


def sentence_piece(metadata: Metadata, written: Vocabulary) -> dict[str, Any]:
    """The content of tokenizer.json, without the post-processor.

    Raises:
        UnsupportedGguf: the merges are neither in the file nor implied by its scores.
        GgufMetadata: scores or merges are malformed, or two tokens have the same text.
    """
    texts = tuple(_spelled(text, kind) for text, kind in zip(written.texts, written.types, strict=True))
    vocabulary = replace(written, texts=texts)
    ids = ids_by_text(metadata, vocabulary)
    has_prefix = metadata.flag("tokenizer.ggml.add_space_prefix", True)
    unknown = vocabulary.special.unknown
    if unknown is not None and texts[unknown] not in ids:
        metadata.fail(f"token {unknown}, the unknown token, has no text")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_stripping(token, metadata) for token in added_tokens(vocabulary)],
        "normalizer": _normalizer(has_prefix=has_prefix),
        "pre_tokenizer": None,
        "decoder": _decoder(has_prefix=has_prefix),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown is None else texts[unknown],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": TokenType.BYTE in vocabulary.types,
            "ignore_merges": False,
            "vocab": ids,
            "merges": _merges(metadata, vocabulary, ids),
        },
    }


def _spelled(text: str, kind: int) -> str:
    """A token's text with SentencePiece's character for spaces, which the converter replaced in user-defined tokens."""
    return SPACE * len(text) if kind == TokenType.USER_DEFINED and text and not text.strip(" ") else text


def _merges(metadata: Metadata, vocabulary: Vocabulary, ids: Mapping[str, int]) -> list[str]:
    if metadata.has(MERGES):
        return written_merges(metadata, ids)
    scores = metadata.numbers(SCORES)
    if len(scores) != len(vocabulary.texts):
        metadata.fail(f"`{SCORES}` has {len(scores)} entries, but the vocabulary {len(vocabulary.texts)}")
    # The converter overwrites the scores of user-defined tokens, which are 0 in SentencePiece.
    known = {
        text: 0.0 if kind == TokenType.USER_DEFINED else score
        for number, (text, kind, score) in enumerate(zip(vocabulary.texts, vocabulary.types, scores, strict=True))
        if kind in _TEXT_TYPES and " " not in text and ids.get(text) == number
    }
    made = [score for text, score in zip(vocabulary.texts, scores, strict=True) if len(text) > 1 and text in known]
    if len(made) > 1 and len(set(made)) == 1:
        raise UnsupportedGguf(
            "the GGUF file does not say in which order tokens are merged: all of them have the same score",
            where=metadata.where,
            hint=ANOTHER_TOKENIZER,
        )
    return merges_by_score(known)


def _normalizer(*, has_prefix: bool) -> dict[str, Any]:
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return (
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces]} if has_prefix else spaces
    )


def _decoder(*, has_prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if has_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _stripping(token: dict[str, Any], metadata: Metadata) -> dict[str, Any]:
    is_stripping = metadata.architecture in _STRIPS_RIGHT and token["content"] not in _KEEPS_RIGHT
    return token | {"rstrip": True} if is_stripping else token
