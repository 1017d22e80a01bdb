"""The tokenizer, the template and the ends of answers that a header tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tokenizers import Tokenizer

from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import GgufMetadata
from tests.toolchain.sources.gguf.written_headers import changed, header_of, refused, with_bytes, without_tokenizer


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"tokenizer.ggml.pre": None},
            "the GGUF file does not say how text is cut into tokens (`tokenizer.ggml.pre` is missing)",
        ),
        (
            {"tokenizer.ggml.pre": "default"},
            "the GGUF file does not say how text is cut into tokens (`tokenizer.ggml.pre` is `default`)",
        ),
        (
            {"tokenizer.ggml.pre": "shiny-new"},
            "the way in which `shiny-new` cuts text (`tokenizer.ggml.pre`) is not known",
        ),
    ],
)
def test_a_pre_tokenizer_is_never_guessed(values: Mapping[str, Any], message: str) -> None:
    header = with_bytes(header_of("llama"))
    assert refused(changed(header, values), UnsupportedGguf) == message
    assert "tokenizer.json" not in derive(changed(header, values), tokenizer=False).documents


def tokenizer_of(header: GgufHeader) -> tuple[Tokenizer, Mapping[str, Any]]:
    documents = derive(header).documents
    return Tokenizer.from_str(documents["tokenizer.json"].decode()), json.loads(documents["tokenizer_config.json"])


def test_kinds_of_tokens() -> None:
    tokenizer, told = tokenizer_of(with_bytes(header_of("llama")))
    assert tokenizer.encode("ab<think>a<|im_end|><odd｜>").tokens == ["ab", "<think>", "a", "<|im_end|>", "<odd｜>"]
    assert tokenizer.decode([2, 5, 0, 4, 7]) == "ab<think>a"
    assert tokenizer.token_to_id("[PAD6]") is None
    assert told == {
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def test_ends_of_texts() -> None:
    header = changed(with_bytes(header_of("llama")), {"tokenizer.ggml.bos_token_id": 7})
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    assert tokenizer_of(header)[0].encode("a").tokens == ["a"]
    assert tokenizer_of(changed(header, both))[0].encode("a").tokens == ["<odd｜>", "a", "<|im_end|>"]
    # Llama 3's texts begin with the token for that, though older files have no key for it.
    assert tokenizer_of(changed(header, {"tokenizer.ggml.pre": "llama-bpe"}))[0].encode("a").ids == [7, 0]
    lacking = changed(header, {**both, "tokenizer.ggml.eos_token_id": None})
    assert refused(lacking, GgufMetadata).endswith(
        "texts are to have the eos token, but there is no `tokenizer.ggml.eos_token_id`"
    )


def test_an_original_tokenizer_is_taken_whole() -> None:
    whole = '{"model": {"type": "BPE", "vocab": {"x": 0}, "merges": []}, "added_tokens": []}'
    header = changed(header_of("llama"), {"tokenizer.huggingface.json": whole})
    assert derive(header).documents["tokenizer.json"] == whole.encode()


def test_gemma_ends_answers_with_its_turns() -> None:
    header = header_of("gemma3")
    texts = list(header.metadata["tokenizer.ggml.tokens"])
    texts[3], texts[4], texts[5] = "<end_of_turn>", "  ", "▁"
    ours = changed(
        header,
        {
            "tokenizer.ggml.tokens": tuple(texts),
            "tokenizer.ggml.token_type": (2, 3, 3, 3, 4, *[1] * 35),
            "tokenizer.ggml.add_space_prefix": False,
        },
    )
    assert json.loads(derive(ours).documents["generation_config.json"])["eos_token_id"] == [2, 3]
    # Runs of spaces stand in the file with real spaces, and are one token of two that SentencePiece merges.
    tokenizer, _ = tokenizer_of(ours)
    assert tokenizer.encode("  d").ids == [1, 4, 6]


def test_a_template_of_none() -> None:
    header = header_of("llama")
    assert "chat_template.jinja" not in derive(header).documents
    told = derive(changed(header, {"tokenizer.chat_template": "{{ messages }}\n"})).documents
    assert told["chat_template.jinja"] == b"{{ messages }}\n"


def test_a_file_without_vocabulary_needs_a_tokenizer() -> None:
    header = header_of("llama")
    bare = without_tokenizer(header)
    assert set(derive(bare, tokenizer=False).documents) == {"config.json", "generation_config.json"}
    assert refused(bare, GgufMetadata) == "the GGUF file's metadata has no `tokenizer.ggml.tokens`"
