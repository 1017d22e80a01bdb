"""Compares two tokenizer.json files by their content, without loading the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.difference.documents import Change, changes

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class TokenizerDifference:
    """How two tokenizers differ."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renumbered: tuple[str, ...]
    """Tokens whose id has changed."""
    merges: bool
    """Whether the merge rules differ."""
    settings: tuple[Change, ...]
    """Changes of everything else: normalizer, pre-tokenizer, decoder, ..."""

    def to_json(self) -> dict[str, Any]:
        """The difference as plain JSON data."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "renumbered": list(self.renumbered),
            "merges_differ": self.merges,
            "settings": [change.to_json() for change in self.settings],
        }

    def lines(self) -> list[str]:
        """The difference as text lines."""
        told = [
            f"{what}: {len(tokens)} tokens ({', '.join(json.dumps(it, ensure_ascii=False) for it in tokens[:_SHOWN])}"
            f"{', ...' if len(tokens) > _SHOWN else ''})"
            for what, tokens in (("added", self.added), ("removed", self.removed), ("renumbered", self.renumbered))
            if tokens
        ]
        return [*told, *(["the merge rules differ"] if self.merges else []), *(str(it) for it in self.settings)]


def compare(before: bytes, after: bytes) -> TokenizerDifference | None:
    """The difference between two `tokenizer.json` files; None if one of them is not a valid one."""
    try:
        one, other = json.loads(before), json.loads(after)
        ours, theirs = _vocabulary(one), _vocabulary(other)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    merges = [document.get("model", {}).pop("merges", None) for document in (one, other)]
    for document in (one, other):
        document.get("model", {}).pop("vocab", None)
        document.pop("added_tokens", None)
    common = ours.keys() & theirs.keys()
    return TokenizerDifference(
        added=tuple(sorted(theirs.keys() - common)),
        removed=tuple(sorted(ours.keys() - common)),
        renumbered=tuple(sorted(token for token in common if ours[token] != theirs[token])),
        merges=merges[0] != merges[1],
        settings=tuple(changes(one, other)),
    )


def _vocabulary(document: Mapping[str, Any]) -> dict[str, int]:
    """Token to id, including added tokens; Unigram models list their tokens in the order of their ids."""
    vocabulary = document.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary)}
    return {**vocabulary, **{token["content"]: token["id"] for token in document.get("added_tokens") or ()}}
