"""How text is cut before byte-level BPE, by `tokenizer.ggml.pre`. Which of the names a file has is read elsewhere.

A name stands for what llama.cpp does by it (`llm_tokenizer_bpe` in llama-vocab.cpp), written as the tokenizer.json of
the model that the name comes from has it. Names that are not here are refused: a wrong one gives worse answers, and
nobody sees why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One way of cutting text."""

    steps: tuple[Mapping[str, Any], ...]
    """As in tokenizer.json."""
    normalizer: Mapping[str, Any] | None = None
    ignores_merges: bool = False
    """Whether a piece that is a token as a whole is taken as it is, whatever the merges say."""
    adds_bos: bool = False
    """Whether texts begin with the token for that where the file does not say."""


def _split(pattern: str) -> Mapping[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(*, cut: bool) -> Mapping[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": cut}


_DIGITS: Final = {"type": "Digits", "individual_digits": True}

_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_GPT2_KIND: Final = PreTokenizer((_bytes(cut=True),))
_DIGITS_KIND: Final = PreTokenizer((_DIGITS, _bytes(cut=True)))
_LLAMA3_KIND: Final = PreTokenizer((_split(_LLAMA3), _bytes(cut=False)), ignores_merges=True, adds_bos=True)

PRE_TOKENIZERS: Final[Mapping[str, PreTokenizer]] = {
    "gpt-2": _GPT2_KIND,
    "smollm": _DIGITS_KIND,
    "starcoder": _DIGITS_KIND,
    "refact": _DIGITS_KIND,
    "llama3": _LLAMA3_KIND,
    "llama-v3": _LLAMA3_KIND,
    "llama-bpe": _LLAMA3_KIND,
}
"""By `tokenizer.ggml.pre`."""
