"""Fill-in-the-middle prompts, for models that were trained for them and have the control tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlxbuild.runtime.model.tokenizer import Tokenizer

_KNOWN = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)


def fills_gaps(tokenizer_json: bytes) -> bool:
    """Whether a `tokenizer.json` has such tokens. They are searched for in its text, as parsing takes long."""
    return any(all(_is_written(name, tokenizer_json) for name in names) for names in _KNOWN)


def _is_written(name: str, tokenizer_json: bytes) -> bool:
    forms = {json.dumps(name, ensure_ascii=is_ascii).encode() for is_ascii in (False, True)}
    return any(form in tokenizer_json for form in forms)


@dataclass(frozen=True, slots=True)
class Infill:
    """The tokens before the prefix, before the suffix, and before the middle that the model generates."""

    prefix: int
    suffix: int
    middle: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Infill | None:
        """The infill tokens of a tokenizer; None if it has no known ones."""
        for names in _KNOWN:
            tokens = [token for name in names if (token := tokenizer.token_id(name)) is not None]
            if len(tokens) == len(names):
                return cls(*tokens)
        return None

    def tokens(self, tokenizer: Tokenizer, before: str, after: str, most: int | None = None) -> list[int]:
        """The prompt for the text between two others. `most` is that of `Tokenizer.encode`, for each of them."""
        left, right = tokenizer.encode(before, most=most), tokenizer.encode(after, most=most)
        return [self.prefix, *left, self.suffix, *right, self.middle]
