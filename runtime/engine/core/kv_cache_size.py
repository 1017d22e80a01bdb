"""How much memory a model's KV cache takes for a number of tokens, and of which kinds its layers are.

Budgets are decided elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache import can_merge, fresh, leaves

_STEP_TOKENS = 256
"""KV caches grow by this number of tokens."""


@dataclass(frozen=True, slots=True)
class KVCacheSize:
    """KV cache size of one sequence."""

    growing: tuple[tuple[int, int | None], ...]
    """Bytes for each token, with the number of tokens at which the cache stops growing, or None."""
    constant_bytes: int
    """Recurrent state, which does not depend on the length."""
    merges: bool
    """Whether the caches of several sequences can be merged into a batch."""
    group_size: int | None
    """Group size for quantized keys and values; None where they cannot be quantized."""
    number_bytes: int
    """Size of one number of the keys and values."""
    weights_bytes: int
    """Size of the model's weights, all of which are read in each step."""
    depth: int
    """Number of layers with a KV cache."""

    @classmethod
    def of(cls, model: Any) -> KVCacheSize:
        """Measure the cache of a model of mlx-lm. The graph of a pass is built, but not evaluated."""
        import mlx.core as mx

        cache = fresh(model)
        merges = can_merge(cache)
        model(mx.array([[0]]), cache=cache)
        growing: dict[int | None, int] = {}
        constant_bytes = 0
        group_size: int | None = 64
        number_bytes = 1
        for leaf in leaves(cache):
            keys = getattr(leaf, "keys", None)
            if type(leaf).__name__ != "KVCache":
                group_size = None
            elif group_size is not None and keys is not None:
                sizes = (keys.shape[-1], leaf.values.shape[-1])
                group_size = next((size for size in (64, 32) if not any(each % size for each in sizes)), None)
            if keys is None:
                constant_bytes += leaf.nbytes
            else:
                bound = getattr(leaf, "max_size", getattr(leaf, "chunk_size", None))
                growing[bound] = growing.get(bound, 0) + leaf.nbytes // keys.shape[2]
                number_bytes = keys.dtype.size
        return cls(
            tuple((size, bound) for bound, size in growing.items()),
            constant_bytes,
            merges,
            group_size,
            number_bytes,
            _weights_bytes(model),
            len(cache),
        )

    def in_bits(self, bits: int) -> KVCacheSize:
        """The size with quantized keys and values: each group of numbers has a scale and a bias as well."""
        if self.group_size is None:
            return self
        bits_each = 8 * self.number_bytes
        quantized = bits + 2 * bits_each / self.group_size
        growing = tuple((math.ceil(size * quantized / bits_each), bound) for size, bound in self.growing)
        return replace(self, growing=growing)

    def bytes_for(self, tokens: int) -> int:
        """Memory for that many tokens."""
        whole = -(-tokens // _STEP_TOKENS) * _STEP_TOKENS
        return self.constant_bytes + sum(
            size * (whole if bound is None else min(whole, bound)) for size, bound in self.growing
        )

    def tokens_in(self, size_bytes: int) -> int | None:
        """How many tokens fit into that much memory; None if any number does."""
        if self.bytes_for(1 << 40) <= size_bytes:
            return None
        low, high = 0, 1 << 40
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_for(middle) <= size_bytes else (low, middle - 1)
        return low


def _weights_bytes(model: Any) -> int:
    from mlx.utils import tree_flatten

    leaves: Any = tree_flatten(model.parameters()) if hasattr(model, "parameters") else []
    return sum(array.nbytes for _, array in leaves)
