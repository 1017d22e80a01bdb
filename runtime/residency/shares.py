"""Divides the memory that weights leave among the caches of the loaded models; each runner keeps to its share."""

from __future__ import annotations

from collections.abc import Iterable

from mlxbuild.runtime.residency.reservation import MemoryReservation


def share_out(budget_bytes: int, places: Iterable[MemoryReservation]) -> None:
    """Limit the caches of all loaded models so that they stay within the budget together.

    Each model gets the cache memory that its place reserves. Of the rest, an eighth goes to prefix caches and three
    quarters to the KV caches of running requests, in equal shares, of which none is more than half of the memory that
    weights leave. The remainder is for computing.
    """
    places = list(places)
    sharing = [place for place in places if _has_caches(place)]
    left = budget_bytes - sum(place.size_bytes - place.cache_bytes for place in places)
    rest = max(0, left - sum(place.cache_bytes for place in sharing))
    for place in sharing:
        if place.runner is not None:
            caches = min(left // 2, place.cache_bytes + rest * 3 // 4 // len(sharing))
            place.runner.limit(max(0, caches), rest // 8 // len(sharing))


def _has_caches(place: MemoryReservation) -> bool:
    """Whether a model needs KV caches: embedding models do not; one that is still loading counts as if it did."""
    return place.runner is None or "completion" in place.runner.loaded.capabilities
