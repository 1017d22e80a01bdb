"""The vocabulary of a GGUF file: token texts, types, and the BOS, EOS and padding tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mlxbuild.toolchain.sources.gguf.metadata import Metadata

MODEL: Final = "tokenizer.ggml.model"
TOKENS: Final = "tokenizer.ggml.tokens"
TYPES: Final = "tokenizer.ggml.token_type"

_ENDS: Final = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|end|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<eos>",
        "<EOT>",
        "<｜end▁of▁sentence｜>",
    }
)
"""Control tokens that end an answer. The metadata names one or two, models have up to three; llama.cpp recognises them
by text, too (`special_eog_ids` in llama-vocab.cpp)."""
_LONGEST: Final = 1024  # in characters; published vocabularies have up to 128
_NONE: Final = 2**32 - 1  # the id -1 as an unsigned 32-bit integer


class TokenType(IntEnum):
    """Values of `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids, each within the vocabulary."""

    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    pad: int | None = None
    ends: tuple[int, ...] = ()
    """All tokens that end an answer, ascending."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a file by id, and its special tokens."""

    texts: tuple[str, ...]
    types: tuple[int, ...]
    """One for each text."""
    special: SpecialTokens


def read_vocabulary(metadata: Metadata) -> Vocabulary:
    """Read the vocabulary of a file.

    A SentencePiece vocabulary without special tokens gets llama.cpp's defaults: 0, 1 and 2.

    Raises:
        GgufMetadata: the vocabulary is missing or malformed, or a special token is outside of it.
    """
    texts, types = metadata.texts(TOKENS), metadata.integers(TYPES)
    if not texts:
        metadata.fail(f"`{TOKENS}` is empty")
    if any(len(text) > _LONGEST for text in texts):
        metadata.fail(f"`{TOKENS}` has a token of more than {_LONGEST} characters")
    if len(types) != len(texts):
        metadata.fail(f"`{TOKENS}` has {len(texts)} entries, but `{TYPES}` {len(types)}")
    is_sentence_piece = metadata.text(MODEL) == "llama"
    eos = _token(metadata, "eos", len(texts), 2 if is_sentence_piece else None)
    ends = {eos, *(_token(metadata, name, len(texts), None) for name in ("eot", "eom"))}
    ends |= {number for number, text in enumerate(texts) if text in _ENDS and types[number] == TokenType.CONTROL}
    special = SpecialTokens(
        _token(metadata, "bos", len(texts), 1 if is_sentence_piece else None),
        eos,
        _token(metadata, "unknown", len(texts), 0 if is_sentence_piece else None),
        _token(metadata, "padding", len(texts), None),
        tuple(sorted(number for number in ends if number is not None)),
    )
    return Vocabulary(texts, types, special)


def _token(metadata: Metadata, name: str, count: int, default: int | None) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if not metadata.has(key) or metadata.values[key] == _NONE:
        return default if default is None or default < count else None
    number = metadata.count(key, least=0)
    if number >= count:
        metadata.fail(f"`{key}` is {number}, but the vocabulary has {count} tokens")
    return number
