"""The gate `tokens`, which checks the token ids of a text, without special tokens around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.toolchain.gates.verdict import Verdict


def judge(model: LoadedModel, given: Mapping[str, Any]) -> Verdict:
    """Check that the token ids of `text` are exactly `ids`."""
    ids, wanted = model.tokenize(given["text"], raw=False), list(given["ids"])
    if ids == wanted:
        return Verdict(True, f"{len(ids)} tokens", {"ids": ids})
    place = next((n for n, pair in enumerate(zip(ids, wanted, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(ids), len(wanted)) if place is None else place
    return Verdict(False, f"the ids differ from position {place} on\nwanted {wanted}\ngot    {ids}", {"ids": ids})
