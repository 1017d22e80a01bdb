"""Converts the byte-level BPE of a GGUF file (`tokenizer.ggml.model` is `gpt2`) to tokenizer.json."""

from __future__ import annotations

from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.added_tokens import added_tokens, ids_by_text
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.merges import written_merges
from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from mlxbuild.toolchain.sources.gguf.vocabulary import Vocabulary

PRE: Final = "tokenizer.ggml.pre"
ANOTHER_TOKENIZER: Final = (
    "name a tokenizer in the recipe: `tokenizer: {hf_repo: owner/name}` of the model this was made of"
)


def byte_level(metadata: Metadata, vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of tokenizer.json, without the post-processor.

    Raises:
        UnsupportedGguf: the pre-tokenizer is not known.
        GgufMetadata: the merges are missing or malformed, or two tokens have the same text.
    """
    cut = pre_tokenizer(metadata)
    ids = ids_by_text(metadata, vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": cut.normalizer,
        "pre_tokenizer": cut.steps[0] if len(cut.steps) == 1 else {"type": "Sequence", "pretokenizers": cut.steps},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut.ignores_merges,
            "vocab": ids,
            "merges": written_merges(metadata, ids),
        },
    }


def pre_tokenizer(metadata: Metadata) -> PreTokenizer:
    """The pre-tokenizer that the file names.

    Raises:
        UnsupportedGguf: the file names none, or an unknown one.
    """
    name = metadata.text(PRE, "")
    cut = PRE_TOKENIZERS.get(name)
    if cut is not None:
        return cut
    if name in ("", "default"):
        told = f"`{name}`" if name else "missing"
        message = f"the GGUF file does not say how text is cut into tokens (`{PRE}` is {told})"
    else:
        message = f"the way in which `{name[:60]}` cuts text (`{PRE}`) is not known"
    raise UnsupportedGguf(message, where=metadata.where, hint=ANOTHER_TOKENIZER)
