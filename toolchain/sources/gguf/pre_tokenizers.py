"""The pre-tokenizers of byte-level BPE, by their name in `tokenizer.ggml.pre`.

Each does what llama.cpp does for that name (`llm_tokenizer_bpe` in llama-vocab.cpp), in the form used by the
tokenizer.json of the model that the name comes from. Unknown names are refused: a wrong pre-tokenizer gives worse
answers, and nobody would notice why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """A way of splitting text before BPE."""

    steps: tuple[Mapping[str, Any], ...]
    """Pre-tokenizers in tokenizer.json's form."""
    normalizer: Mapping[str, Any] | None = None
    ignores_merges: bool = False
    """Whether a piece that is a token as a whole is used without applying merges."""
    adds_bos: bool = False
    """Whether the BOS token is added if the file does not say."""


def _split(pattern: str) -> Mapping[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(*, cut: bool) -> Mapping[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": cut}


_NFC: Final = {"type": "NFC"}
_DIGITS: Final = {"type": "Digits", "individual_digits": True}
_NEWLINES: Final = _split(r"[\r\n]")

_ENGLISH: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_OF_LETTERS: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHERS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER_AND_LOWER: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_OTHERS_WITH_SLASH: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_DEEPSEEK_LETTERS: Final = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
)
_DEEPSEEK_MARKS: Final = "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"
_DEEPSEEK_EAST_ASIAN: Final = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK3_EAST_ASIAN: Final = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK3: Final = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)


def _regex(*patterns: str) -> tuple[Mapping[str, Any], ...]:
    return (*(_split(pattern) for pattern in patterns), _bytes(cut=False))


_GPT2_KIND: Final = PreTokenizer((_bytes(cut=True),))
_DIGITS_KIND: Final = PreTokenizer((_DIGITS, _bytes(cut=True)))
_LLAMA3: Final = _regex("|".join((_ENGLISH, _OF_LETTERS, r"\p{N}{1,3}", _OTHERS)))
_LLAMA3_KIND: Final = PreTokenizer(_LLAMA3, ignores_merges=True, adds_bos=True)
_QWEN2_KIND: Final = PreTokenizer(_regex("|".join((_ENGLISH, _OF_LETTERS, r"\p{N}", _OTHERS))), _NFC)
_TEKKEN_KIND: Final = PreTokenizer(
    _regex("|".join((*_UPPER_AND_LOWER, r"\p{N}", _OTHERS_WITH_SLASH))), ignores_merges=True, adds_bos=True
)
_GPT4O_KIND: Final = PreTokenizer(
    _regex("|".join((*(form + _ENGLISH + "?" for form in _UPPER_AND_LOWER), r"\p{N}{1,3}", _OTHERS_WITH_SLASH)))
)

PRE_TOKENIZERS: Final[Mapping[str, PreTokenizer]] = {
    "gpt-2": _GPT2_KIND,
    "phi-2": _GPT2_KIND,
    "mellum": _GPT2_KIND,
    "a.x-4.0": _GPT2_KIND,
    "gigachat": _GPT2_KIND,
    "trillion": _GPT2_KIND,
    "mpt": PreTokenizer((_bytes(cut=True),), _NFC),
    "smollm": _DIGITS_KIND,
    "starcoder": _DIGITS_KIND,
    "refact": _DIGITS_KIND,
    "minerva-7b": _DIGITS_KIND,
    "command-r": PreTokenizer((_DIGITS, _bytes(cut=True)), _NFC),
    "llama3": _LLAMA3_KIND,
    "llama-v3": _LLAMA3_KIND,
    "llama-bpe": _LLAMA3_KIND,
    "falcon3": _LLAMA3_KIND,
    "pixtral": _LLAMA3_KIND,
    "midm-2.0": _LLAMA3_KIND,
    "dbrx": PreTokenizer(_LLAMA3),
    "smaug-bpe": PreTokenizer(_LLAMA3),
    "qwen2": _QWEN2_KIND,
    "deepseek-r1-qwen": _QWEN2_KIND,
    "megrez": _QWEN2_KIND,
    "tekken": _TEKKEN_KIND,
    "gpt-4o": _GPT4O_KIND,
    "kanana2": _GPT4O_KIND,
    "seed-coder": PreTokenizer(
        _regex(_ENGLISH + "|" + _OF_LETTERS + r"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")
    ),
    "falcon": PreTokenizer(_regex(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "deepseek-llm": PreTokenizer(
        (
            _NEWLINES,
            _split(rf"\s?[{_DEEPSEEK_LETTERS}]+"),
            _split(rf"\s?[{_DEEPSEEK_MARKS}]+"),
            _split(r"\s+$"),
            _split(_DEEPSEEK_EAST_ASIAN),
            _DIGITS,
            _bytes(cut=False),
        )
    ),
    "deepseek-coder": PreTokenizer(
        (
            _NEWLINES,
            _split(r"\s?\p{L}+"),
            _split(r"\s?\p{P}+"),
            _split(_DEEPSEEK_EAST_ASIAN),
            _DIGITS,
            _bytes(cut=False),
        )
    ),
    "deepseek-v3": PreTokenizer(_regex(r"\p{N}{1,3}", _DEEPSEEK3_EAST_ASIAN, _DEEPSEEK3)),
}
"""Value of `tokenizer.ggml.pre` to pre-tokenizer."""
