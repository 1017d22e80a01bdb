"""Converts a GGUF file's metadata to tokenizer.json and tokenizer_config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.byte_level import ANOTHER_TOKENIZER, byte_level, pre_tokenizer
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.sentence_piece import sentence_piece
from mlxbuild.toolchain.sources.gguf.text_ends import TextEnds, post_processor, text_ends
from mlxbuild.toolchain.sources.gguf.vocabulary import MODEL, Vocabulary

WHOLE: Final = "tokenizer.huggingface.json"
"""Key under which some files hold the original tokenizer.json."""


def tokenizer_documents(metadata: Metadata, vocabulary: Vocabulary) -> dict[str, bytes]:
    """File name to content of the tokenizer's documents.

    Raises:
        UnsupportedGguf: this type of tokenizer cannot be converted exactly.
        GgufMetadata: the metadata lacks a part of the tokenizer, or contradicts itself.
    """
    kind = metadata.text(MODEL)
    if metadata.has(WHOLE):
        whole = _whole(metadata)
        return {"tokenizer.json": whole.encode(), "tokenizer_config.json": _configuration(vocabulary, None)}
    if kind == "gpt2":
        content, adds_bos = byte_level(metadata, vocabulary), pre_tokenizer(metadata).adds_bos
    elif kind == "llama":
        content, adds_bos = sentence_piece(metadata, vocabulary), True
    else:
        message = f"tokenizers of the kind `{kind[:60]}` (`{MODEL}`) cannot be converted"
        raise UnsupportedGguf(message, where=metadata.where, hint=ANOTHER_TOKENIZER)
    ends = text_ends(metadata, vocabulary.special, adds_bos=adds_bos)
    content["post_processor"] = post_processor(vocabulary, ends)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return {"tokenizer.json": text.encode(), "tokenizer_config.json": _configuration(vocabulary, ends)}


def _configuration(vocabulary: Vocabulary, ends: TextEnds | None) -> bytes:
    named = vocabulary.special
    tokens = {"bos_token": named.bos, "eos_token": named.eos, "unk_token": named.unknown, "pad_token": named.pad}
    content: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    content |= {name: vocabulary.texts[number] for name, number in tokens.items() if number is not None}
    if ends is not None:
        content |= {"add_bos_token": ends.first is not None, "add_eos_token": ends.last is not None}
    return (json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def _whole(metadata: Metadata) -> str:
    text = metadata.text(WHOLE)
    try:
        content: Mapping[str, Any] | None = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        metadata.fail(f"`{WHOLE}` is not a tokenizer.json")
    return text
