"""Which tokens of a GGUF file's vocabulary begin, end and pad texts. How texts are cut into tokens lives elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from toolchain.sources.gguf.metadata import Metadata

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
"""Control tokens that end an answer. The metadata names one or two, models have up to three; llama.cpp goes by these
texts, too (`special_eog_ids` in llama-vocab.cpp)."""


_NONE: Final = 2**32 - 1  # an id of -1, as it stands in 32 bits without a sign


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
    """Ids, each within the vocabulary."""

    bos: int | None
    eos: int | None
    unknown: int | None
    pad: int | None
    ends: tuple[int, ...]
    """All that end an answer, ascending."""


def special_tokens(metadata: Metadata) -> SpecialTokens:
    """The special tokens of a file.

    A SentencePiece vocabulary that names none has those that llama.cpp takes: 0, 1 and 2.

    Raises:
        GgufMetadata: an id lies outside the vocabulary, or the vocabulary is missing or malformed.
    """
    texts, types = vocabulary(metadata)
    is_sentence_piece = metadata.text("tokenizer.ggml.model") == "llama"
    eos = _token(metadata, "eos", len(texts), 2 if is_sentence_piece else None)
    ends = {eos, *(_token(metadata, name, len(texts), None) for name in ("eot", "eom"))}
    ends |= {
        number
        for number, (text, kind) in enumerate(zip(texts, types, strict=True))
        if kind == TokenType.CONTROL and text in _ENDS
    }
    return SpecialTokens(
        _token(metadata, "bos", len(texts), 1 if is_sentence_piece else None),
        eos,
        _token(metadata, "unknown", len(texts), 0 if is_sentence_piece else None),
        _token(metadata, "padding", len(texts), None),
        tuple(sorted(number for number in ends if number is not None)),
    )


def vocabulary(metadata: Metadata) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The tokens' texts and types, equally many."""
    texts, types = metadata.texts(TOKENS), metadata.integers(TYPES)
    if not texts:
        metadata.fail(f"`{TOKENS}` is empty")
    if len(types) != len(texts):
        metadata.fail(f"`{TOKENS}` has {len(texts)} entries, but `{TYPES}` {len(types)}")
    return texts, types


def _token(metadata: Metadata, name: str, count: int, default: int | None) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if not metadata.has(key) or metadata.values[key] == _NONE:
        return default if default is None or default < count else None
    number = metadata.count(key, least=0)
    if number >= count:
        metadata.fail(f"`{key}` is {number}, but the vocabulary has {count} tokens")
    return number
