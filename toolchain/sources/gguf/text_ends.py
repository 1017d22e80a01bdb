"""The tokens that a GGUF file's tokenizer adds before and after each text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.vocabulary import SpecialTokens, Vocabulary


@dataclass(frozen=True, slots=True)
class TextEnds:
    """Ids of the added tokens; None if none is added."""

    first: int | None
    last: int | None


def text_ends(metadata: Metadata, special: SpecialTokens, *, adds_bos: bool) -> TextEnds:
    """The tokens that the file says to add.

    Args:
        metadata: Metadata of the file.
        special: Special tokens of the file.
        adds_bos: Whether the BOS token is added if the file does not say.

    Raises:
        GgufMetadata: a token is to be added whose id the file does not give.
    """
    ends: list[int | None] = []
    for name, number, default in (("bos", special.bos, adds_bos), ("eos", special.eos, False)):
        is_wanted = metadata.flag(f"tokenizer.ggml.add_{name}_token", default)
        if is_wanted and number is None:
            metadata.fail(f"texts are to have the {name} token, but there is no `tokenizer.ggml.{name}_token_id`")
        ends.append(number if is_wanted else None)
    return TextEnds(*ends)


def post_processor(vocabulary: Vocabulary, ends: TextEnds) -> dict[str, Any] | None:
    """The post-processor of tokenizer.json that adds them; None if none is added."""
    used = {number: vocabulary.texts[number] for number in (ends.first, ends.last) if number is not None}
    if not used:
        return None

    def one(sequence: str, kind: int) -> list[dict[str, Any]]:
        before, after = (
            [] if number is None else [{"SpecialToken": {"id": used[number], "type_id": kind}}]
            for number in (ends.first, ends.last)
        )
        return [*before, {"Sequence": {"id": sequence, "type_id": kind}}, *after]

    return {
        "type": "TemplateProcessing",
        "single": one("A", 0),
        "pair": [*one("A", 0), *one("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]} for number, text in used.items()},
    }
