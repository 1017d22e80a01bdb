"""The gate `template`, which checks the exact prompt that a conversation is rendered to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.toolchain.gates.verdict import Verdict

_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
"""The date that templates see: a gate must not fail because a day has passed."""


def judge(model: LoadedModel, given: Mapping[str, Any]) -> Verdict:
    """Check that `messages` and `tools` render to `golden`, with the artifact's system prompt and preceding messages.

    One extra newline at the end of `golden` is ignored, because editors add it.
    """
    rendered = model.at(lambda: _CLOCK).prompt(given["messages"], tools=given.get("tools"))
    golden = given["golden"]
    if rendered == golden or rendered + "\n" == golden:
        return Verdict(True, f"{len(rendered)} characters", {"prompt": rendered})
    return Verdict(False, "the prompt differs\n" + _difference(golden, rendered), {"prompt": rendered})


def _difference(golden: str, rendered: str) -> str:
    """A unified diff; a last line without a newline is marked, as diff does."""
    lines = difflib.unified_diff(_lines(golden), _lines(rendered), "golden", "prompt", lineterm="")
    return "\n".join(line.replace("\n", "\n\\ ") for line in lines)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], lines[-1] + "\nNo newline at end"]
