"""The prefix cache: KV caches of earlier sequences, so that a prompt that begins alike computes only what is new."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, can_rewind, fresh, nbytes, rewind, shared

_MOST_ENTRIES = 256
"""All of them are looked at for each prompt."""


@dataclass(frozen=True, slots=True)
class PrefixFigures:
    """What a prefix cache holds and did."""

    entries: int
    size_bytes: int
    hits: int
    misses: int
    evicted: int


@dataclass(frozen=True, slots=True)
class _Entry:
    tokens: tuple[int, ...]
    """Those that went through the model, exactly."""
    layers: KVCache
    size_bytes: int


class PrefixCache:
    """Entries of one model within a budget; the one that was unused longest goes first. For one thread.

    Models with recurrent state cannot be rewound, so of them an entry serves only prompts that begin with all of it:
    it is a checkpoint. Of others it serves every prompt that shares a beginning with it, and a longer entry takes
    the place of those that it begins with.
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

    def figures(self) -> PrefixFigures:
        """As they stand."""
        return PrefixFigures(len(self._entries), self._size_bytes, self._hits, self._misses, self._evicted)

    def take(self, prompt: Sequence[int], kind: str = "", *, model: Any = None) -> tuple[KVCache, int]:
        """KV caches for a prompt, and how many of its tokens are in them: at least one is left to compute.

        They are the caller's to change. Nothing is copied before that. `kind` keeps caches of another form apart, and
        `model` makes such when there are none.
        """
        wanted = tuple(prompt[:-1])
        found: tuple[str, tuple[int, ...]] | None = None
        longest = 0
        for key, entry in self._entries.items():
            if key[0] != kind:
                continue
            common = common_beginning(entry.tokens, wanted)
            if common > longest and (common == len(entry.tokens) or can_rewind(entry.layers)):
                found, longest = key, common
        if found is None:
            self._misses += 1
            return fresh(model or self._model), 0
        self._hits += 1
        self._entries.move_to_end(found)
        entry = self._entries[found]
        layers = shared(entry.layers)
        if surplus := len(entry.tokens) - longest:
            rewind(layers, surplus)
        return layers, longest

    def knows(self, prompt: Sequence[int], kind: str = "") -> int:
        """How many tokens of a prompt `take` would find. Counts as no use."""
        wanted = tuple(prompt[:-1])
        usable = [
            common
            for (its_kind, tokens), entry in self._entries.items()
            if its_kind == kind
            and (common := common_beginning(tokens, wanted))
            and (common == len(tokens) or can_rewind(entry.layers))
        ]
        return max(usable, default=0)

    def keep(self, tokens: Sequence[int], layers: KVCache, kind: str = "") -> bool:
        """Remember KV caches by exactly the tokens that went through them. They must not be changed afterwards.

        An entry that is greater than the whole budget is not kept; returns whether it is.
        """
        if not tokens:
            return False
        key = (kind, tuple(tokens))
        size = nbytes(layers)
        if size > self._budget_bytes:
            return False
        if key in self._entries:
            self._entries.move_to_end(key)
            return True
        if can_rewind(layers):
            for other in [other for other in self._entries if other[0] == kind and _begins(key[1], other[1])]:
                self._remove(other)
        self._entries[key] = _Entry(key[1], layers, size)
        self._size_bytes += size
        self._evict()
        return True

    def limit(self, budget_bytes: int) -> None:
        """Keep to another budget from now on."""
        self._budget_bytes = budget_bytes
        self._evict()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._size_bytes = 0

    def _evict(self) -> None:
        while self._size_bytes > self._budget_bytes or len(self._entries) > _MOST_ENTRIES:
            self._remove(next(iter(self._entries)))
            self._evicted += 1

    def _remove(self, key: tuple[str, tuple[int, ...]]) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes


def common_beginning(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """How many tokens two rows have in common from their beginning."""
    longest = min(len(first), len(second))
    if first[:longest] == second[:longest]:
        return longest
    low, high = 0, longest - 1  # comparing slices by halves is many times faster than token by token
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _begins(longer: tuple[int, ...], shorter: tuple[int, ...]) -> bool:
    return longer[: len(shorter)] == shorter
