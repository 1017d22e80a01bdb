"""What is put before and after each text of a GGUF file's tokenizer. Which tokens are special is read elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.vocabulary import SpecialTokens, Vocabulary


@dataclass(frozen=True, slots=True)
class TextEnds:
    """Ids; None where nothing is put."""

    first: int | None
    last: int | None


def text_ends(metadata: Metadata, special: SpecialTokens, *, adds_bos: bool) -> TextEnds:
    """What the file says of the ends of texts.

    Args:
        metadata: The file's.
        special: Its special tokens.
        adds_bos: Whether texts begin with the token for that where the file does not say.

    Raises:
        GgufMetadata: a token is to be put of which the file does not say which it is.
    """
    ends: list[int | None] = []
    for name, number, default in (("bos", special.bos, adds_bos), ("eos", special.eos, False)):
        is_wanted = metadata.flag(f"tokenizer.ggml.add_{name}_token", default)
        if is_wanted and number is None:
            metadata.fail(f"texts are to have the {name} token, but there is no `tokenizer.ggml.{name}_token_id`")
        ends.append(number if is_wanted else None)
    return TextEnds(*ends)


def post_processor(vocabulary: Vocabulary, ends: TextEnds) -> dict[str, Any] | None:
    """The part of tokenizer.json that puts them there; None where nothing is put."""
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
