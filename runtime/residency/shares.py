"""How models in memory share what their weights leave. Each keeps to its share by itself; who has a place: `room`."""

from __future__ import annotations

from collections.abc import Iterable

from mlxbuild.runtime.residency.place import Place


def share_out(budget_bytes: int, places: Iterable[Place]) -> None:
    """Tell all loaded models what their caches may take, so that they stay within the budget together.

    Each has the room that its place counts in. Of the rest, an eighth is for prefix caches, and three quarters are for
    running answers, each model as much as any other, but none more than half of everything. What is left is for
    computing.
    """
    places = list(places)
    sharing = [place for place in places if _has_caches(place)]
    left = budget_bytes - sum(place.size_bytes - place.cache_bytes for place in places)
    rest = max(0, left - sum(place.cache_bytes for place in sharing))
    for place in sharing:
        if place.runner is not None:
            caches = min(left // 2, place.cache_bytes + rest * 3 // 4 // len(sharing))
            place.runner.limit(max(0, caches), rest // 8 // len(sharing))


def _has_caches(place: Place) -> bool:
    """Models that only embed have none; of one that is still to be loaded nobody knows."""
    return place.runner is None or "completion" in place.runner.loaded.capabilities
