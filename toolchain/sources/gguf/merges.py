"""The merges of a GGUF file's BPE as tokenizer.json lists them: from the file, or from the scores of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from mlxbuild.toolchain.sources.gguf.metadata import Metadata

MERGES: Final = "tokenizer.ggml.merges"


def written_merges(metadata: Metadata, ids: Mapping[str, int]) -> list[str]:
    """The merges as the file has them: two texts with a space between.

    Raises:
        GgufMetadata: one is no pair, or makes a text that is no token.
    """
    merges = metadata.texts(MERGES)
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            metadata.fail(f"entry {number} of `{MERGES}` is no pair of texts")
        if left not in ids or right not in ids or left + right not in ids:
            metadata.fail(f"entry {number} of `{MERGES}` joins or makes a text that is no token")
    return list(merges)


def merges_by_score(scores: Mapping[str, float]) -> list[str]:
    """The merges that a vocabulary implies, best score first.

    As `generate_merges` of transformers' `tokenization_utils_base.py` has it, whose results the tokenizer.json of
    published models hold: every way to make a token of two others; of equal scores the longer first parts first, then
    the longer second ones.

    Args:
        scores: By text, in the order of ids; without the tokens that neither are made nor make others.
    """
    merges: list[tuple[float, int, int, str]] = []
    for text, score in scores.items():
        for cut in range(1, len(text)):
            left = text[:cut]
            if left in scores and (right := text[cut:]) in scores:
                merges.append((score, cut, len(right), f"{left} {right}"))
    merges.sort(key=itemgetter(0, 1, 2), reverse=True)
    return [merge[3] for merge in merges]
