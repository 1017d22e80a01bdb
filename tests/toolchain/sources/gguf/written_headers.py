"""Headers of tiny written models, with other metadata, and what deriving from them is refused with."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, read_gguf_file_header
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS, random_model, write_gguf

BYTE_LEVEL: Mapping[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ("a", "b", "ab", "Ġ", "<|im_end|>", "<think>", "[PAD6]", "<odd｜>"),
    "tokenizer.ggml.token_type": (1, 1, 1, 1, 3, 4, 5, 3),
    "tokenizer.ggml.merges": ("a b",),
    "tokenizer.ggml.eos_token_id": 4,
}


@functools.cache
def header_of(case: str) -> GgufHeader:
    """Of a case of `CONFIGURATIONS`."""
    architecture, config = CONFIGURATIONS[case]
    with tempfile.TemporaryDirectory() as folder:
        return read_gguf_file_header(
            write_gguf(Path(folder) / "model.gguf", architecture, config, random_model(config))
        )


def changed(header: GgufHeader, values: Mapping[str, Any]) -> GgufHeader:
    """With other metadata; None takes a key away."""
    merged = {**header.metadata, **values}
    return replace(header, metadata={key: value for key, value in merged.items() if value is not None})


def without_tokenizer(header: GgufHeader) -> GgufHeader:
    """With no key of a tokenizer."""
    return changed(header, {key: None for key in header.metadata if key.startswith("tokenizer.")})


def with_bytes(header: GgufHeader) -> GgufHeader:
    """With a byte-level tokenizer of eight tokens."""
    return changed(without_tokenizer(header), BYTE_LEVEL)


def refused(header: GgufHeader, kind: type[MlxbuildError], **arguments: Any) -> str:
    """The message with which deriving is refused."""
    with pytest.raises(kind) as caught:
        derive(header, "x.gguf", **arguments)
    assert caught.value.where == "x.gguf"
    assert caught.value.hint
    return caught.value.message
