"""Differences of tokenizer.json: what is in the vocabulary, not where in the file. The library is not needed."""

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
    """Tokens that have another id."""
    merges: bool
    """Whether the merge rules differ."""
    settings: tuple[Change, ...]
    """Normalizer, pre-tokenizer, decoder, ...: everything else."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "renumbered": list(self.renumbered),
            "merges_differ": self.merges,
            "settings": [change.to_json() for change in self.settings],
        }

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{what}: {len(tokens)} tokens ({', '.join(json.dumps(it, ensure_ascii=False) for it in tokens[:_SHOWN])}"
            f"{', ...' if len(tokens) > _SHOWN else ''})"
            for what, tokens in (("added", self.added), ("removed", self.removed), ("renumbered", self.renumbered))
            if tokens
        ]
        return [*told, *(["the merge rules differ"] if self.merges else []), *(str(it) for it in self.settings)]


def compare(before: bytes, after: bytes) -> TokenizerDifference | None:
    """What differs between two `tokenizer.json` files; None if one of them is none."""
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
    """Token to id, with the added ones; Unigram models list tokens in order."""
    vocabulary = document.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary)}
    return {**vocabulary, **{token["content"]: token["id"] for token in document.get("added_tokens") or ()}}
