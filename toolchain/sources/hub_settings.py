"""The Hub client's own settings, read from the environment as it reads them, but at each use and without it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where the Hub is, where its cache lies, and whether it may be asked. The token stays with the client."""

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
    """The Hub client's folder: `HF_HOME`, or below the user's cache folder."""
    named = os.environ.get("HF_HOME")
    if named:
        return _path(named)
    return _path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
