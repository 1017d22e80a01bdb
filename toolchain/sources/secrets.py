"""Removes known credentials from texts of this package."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from mlxbuild.toolchain.sources.hub_settings import hub_home

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN")
_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=://)[^/\s@]+(?=@)|(?i:(?<=bearer )\S+)")
_REDACTED = "<redacted>"


def redact(text: str) -> str:
    """The text without Hub tokens, both known ones and anything shaped like one, and without credentials in URLs."""
    for secret in _known():
        text = text.replace(secret, _REDACTED)
    return _SHAPES.sub(_REDACTED, text)


def _known() -> list[str]:
    values = [os.environ.get(variable, "").strip() for variable in _VARIABLES]
    named = os.environ.get("HF_TOKEN_PATH")
    with suppress(OSError, ValueError):
        values.append((Path(named).expanduser() if named else hub_home() / "token").read_text().strip())
    # Longest first, so that a token that contains another is replaced whole. Very short values are skipped: replacing
    # them would garble every text and protect nothing.
    return sorted({value for value in values if len(value) >= 4}, key=len, reverse=True)
