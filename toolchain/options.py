"""How to build. No option changes what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build; no option changes the resulting artifact."""

    jobs: int | None = None
    executor: Literal["inline", "process"] = "inline"
    keep_going: bool = False
    refresh: frozenset[str] = frozenset()
    """Step kinds that run even if a trace exists."""
    expect_cached: bool = False
    shuffle: int | None = None
    """Seed for shuffling the order of ready actions, to prove that the order does not matter."""
    gates: bool = True
    """Without gates, nothing is tested and no tag moves."""
    force: bool = False
    """Under CI, also move tags that name a version."""
    cache_from: str | None = None
    """Repository of the remote cache that is queried before an action runs."""
    cache_to: str | None = None
    """Repository of the remote cache that new results are pushed to."""
    salt: str = ""
    in_ci: bool = False
    """Under CI, a build always keeps going, and tags that name a version do not move."""
