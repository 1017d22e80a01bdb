"""Reads the Hub client's settings from the environment on every use, without importing the client."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The Hub's address, its client's cache, and whether it may be contacted. The token stays with the client."""

    endpoint: str
    cache: Path
    offline: bool

    @classmethod
    def from_environment(cls) -> HubSettings:
        """`HF_ENDPOINT`, `HF_HUB_CACHE` (or `HF_HOME`) and `HF_HUB_OFFLINE`, as huggingface_hub documents them."""
        cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
        offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
        return cls(
            endpoint=(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"),
            cache=_path(cache) if cache else hub_home() / "hub",
            offline=offline.upper() in _TRUE,
        )


def hub_home() -> Path:
    """The Hub client's folder: `HF_HOME`, or its default in the user's cache folder."""
    named = os.environ.get("HF_HOME")
    if named:
        return _path(named)
    return _path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
