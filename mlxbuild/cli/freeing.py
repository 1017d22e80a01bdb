"""Finds the command that frees the most space on the disk, and how much; removes nothing."""

from __future__ import annotations

from collections import Counter

from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.store.gc import collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.reachability import Reachability
from mlxbuild.toolchain.cache.retention import retention
from mlxbuild.toolchain.cache.traces import TraceStore

_WORTH_BYTES = 1_000_000


def advice(store: Store) -> str | None:
    """A sentence with the command: `gc` if it frees much, else the removal of the artifact that takes the most.

    None if nothing takes much space.
    """
    spared = retention(TraceStore(store.home).all())
    roots = [digest for digest in spared.roots if store.has(digest)]
    freed_bytes = collect(store, roots=roots, soft_roots=spared.soft_roots, budget_bytes=0, dry_run=True).freed_bytes
    if freed_bytes >= _WORTH_BYTES:
        return f"`mlxbuild gc` frees {format_bytes(freed_bytes)}"
    name, own_bytes = _largest(store)
    if own_bytes < _WORTH_BYTES:
        return None
    return f"`mlxbuild rm --all-names {name}`, and then `mlxbuild gc`, frees {format_bytes(own_bytes)}"


def _largest(store: Store) -> tuple[str, int]:
    """The artifact whose own blobs, those that no other named artifact has, take the most space."""
    reach = Reachability(store)
    names = {descriptor.digest: name for name, descriptor in reversed(store.tags.items())}
    below = {digest: reach.below([digest]) for digest in names}
    uses = Counter(blob for blobs in below.values() for blob in blobs)
    own = {digest: reach.size_bytes(blob for blob in blobs if uses[blob] == 1) for digest, blobs in below.items()}
    largest = max(own, key=lambda digest: own[digest], default=None)
    return ("", 0) if largest is None else (names[largest], own[largest])
