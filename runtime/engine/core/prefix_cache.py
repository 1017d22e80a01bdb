"""The prefix cache: KV caches of earlier sequences, so that prompts with a common prefix compute only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, can_rewind, fresh, nbytes, rewind, shared
from mlxbuild.runtime.protocol.statistics import PrefixCacheStatistics

_MOST_ENTRIES = 256
"""Bounded, as each lookup compares all entries."""


@dataclass(frozen=True, slots=True)
class _Entry:
    tokens: tuple[int, ...]
    """Exactly the tokens that the KV cache holds."""
    cache: KVCache
    size_bytes: int


class PrefixCache:
    """KV caches of one model by their tokens, within a memory budget; the least recently used is evicted first.

    Not thread-safe. The KV cache of a model with recurrent state cannot be rewound, so such an entry is a checkpoint:
    it serves only prompts that begin with all of its tokens. Other entries serve every prompt that shares a prefix with
    them, and a longer entry replaces those that are a prefix of it.
    """

    def __init__(self, model: Any, budget_bytes: int) -> None:
        self._model = model
        self._budget_bytes = budget_bytes
        self._entries: OrderedDict[tuple[str, tuple[int, ...]], _Entry] = OrderedDict()
        """Least recently used first."""
        self._size_bytes = self._hits = self._misses = self._evicted = 0

    @property
    def is_used(self) -> bool:
        """Whether it may keep anything at all."""
        return self._budget_bytes > 0

    def figures(self) -> PrefixCacheStatistics:
        """Current size and counters."""
        return PrefixCacheStatistics(len(self._entries), self._size_bytes, self._hits, self._misses, self._evicted)

    def take(self, prompt: Sequence[int], kind: str = "", *, model: Any = None) -> tuple[KVCache, int]:
        """A KV cache for a prompt, and how many of its tokens it holds; at least one token is left to compute.

        The caller may change it; memory is copied only then. `kind` separates caches of different forms, and `model`
        creates an empty one on a miss.
        """
        wanted = tuple(prompt[:-1])
        found: tuple[str, tuple[int, ...]] | None = None
        longest = 0
        for key, entry in self._entries.items():
            if key[0] != kind:
                continue
            common = common_beginning(entry.tokens, wanted)
            if common > longest and (common == len(entry.tokens) or can_rewind(entry.cache)):
                found, longest = key, common
        if found is None:
            self._misses += 1
            return fresh(model or self._model), 0
        self._hits += 1
        self._entries.move_to_end(found)
        entry = self._entries[found]
        cache = shared(entry.cache)
        if surplus := len(entry.tokens) - longest:
            rewind(cache, surplus)
        return cache, longest

    def knows(self, prompt: Sequence[int], kind: str = "") -> int:
        """How many tokens of a prompt `take` would find. Does not count as a use."""
        wanted = tuple(prompt[:-1])
        usable = [
            common
            for (its_kind, tokens), entry in self._entries.items()
            if its_kind == kind
            and (common := common_beginning(tokens, wanted))
            and (common == len(tokens) or can_rewind(entry.cache))
        ]
        return max(usable, default=0)

    def keep(self, tokens: Sequence[int], cache: KVCache, kind: str = "") -> bool:
        """Add a KV cache that holds exactly these tokens. It must not be changed afterwards.

        An entry larger than the whole budget is not kept; returns whether it is.
        """
        if not tokens:
            return False
        key = (kind, tuple(tokens))
        size = nbytes(cache)
        if size > self._budget_bytes:
            return False
        if key in self._entries:
            self._entries.move_to_end(key)
            return True
        if can_rewind(cache):
            for other in [other for other in self._entries if other[0] == kind and _begins(key[1], other[1])]:
                self._remove(other)
        self._entries[key] = _Entry(key[1], cache, size)
        self._size_bytes += size
        self._evict()
        return True

    def limit(self, budget_bytes: int) -> None:
        """Set a new budget, and evict what exceeds it."""
        self._budget_bytes = budget_bytes
        self._evict()

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._size_bytes = 0

    def _evict(self) -> None:
        while self._size_bytes > self._budget_bytes or len(self._entries) > _MOST_ENTRIES:
            self._remove(next(iter(self._entries)))
            self._evicted += 1

    def _remove(self, key: tuple[str, tuple[int, ...]]) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes


def common_beginning(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the common prefix of two token sequences."""
    longest = min(len(first), len(second))
    if first[:longest] == second[:longest]:
        return longest
    low, high = 0, longest - 1  # bisecting over slices is many times faster than comparing token by token
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _begins(longer: tuple[int, ...], shorter: tuple[int, ...]) -> bool:
    return longer[: len(shorter)] == shorter
