"""Converts the BPE merges of a GGUF file to tokenizer.json: from the file, or derived from token scores."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from mlxbuild.toolchain.sources.gguf.metadata import Metadata

MERGES: Final = "tokenizer.ggml.merges"


def written_merges(metadata: Metadata, ids: Mapping[str, int]) -> list[str]:
    """The merges in the file: two texts separated by a space.

    Raises:
        GgufMetadata: one is not a pair, or its result is not a token.
    """
    merges = metadata.texts(MERGES)
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            metadata.fail(f"entry {number} of `{MERGES}` is not a pair of texts")
        if left not in ids or right not in ids or left + right not in ids:
            metadata.fail(f"entry {number} of `{MERGES}` joins or makes a text that is no token")
    return list(merges)


def merges_by_score(scores: Mapping[str, float]) -> list[str]:
    """The merges that follow from the scores of a vocabulary, best score first.

    Like `generate_merges` in transformers' `tokenization_utils_base.py`, which made the tokenizer.json of published
    models: every way to split a token into two others; for equal scores, longer first parts come first, then longer
    second ones.

    Args:
        scores: Token text to score, in the order of ids; without tokens that take no part in merges.
    """
    merges: list[tuple[float, int, int, str]] = []
    for text, score in scores.items():
        for cut in range(1, len(text)):
            left = text[:cut]
            if left in scores and (right := text[cut:]) in scores:
                merges.append((score, cut, len(right), f"{left} {right}"))
    merges.sort(key=itemgetter(0, 1, 2), reverse=True)
    return [merge[3] for merge in merges]
