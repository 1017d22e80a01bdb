"""How much memory a model's KV cache takes for a number of tokens, and of which kinds its layers are.

Who may take how much is decided elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from mlxbuild.runtime.engine.core.kv_cache import can_merge, fresh, parts

_STEP_TOKENS = 256
"""KV caches grow by as many."""


@dataclass(frozen=True, slots=True)
class KVCacheSize:
    """Of one row."""

    growing: tuple[tuple[int, int | None], ...]
    """Bytes for each token, and the number of tokens from which on there are no more; None without such a number."""
    constant_bytes: int
    """Recurrent state, whatever the length."""
    merges: bool
    """Whether several rows can be computed together."""
    group_size: int | None
    """In which groups keys and values can be quantized; None where they cannot."""
    number_bytes: int
    """What one number of keys and values takes."""
    weights_bytes: int
    """What the model itself takes; each step reads all of it."""
    depth: int
    """How many KV caches there are."""

    @classmethod
    def of(cls, model: Any) -> KVCacheSize:
        """Measured on a model of mlx-lm; nothing is computed for that, only laid out."""
        import mlx.core as mx

        layers = fresh(model)
        merges = can_merge(layers)
        model(mx.array([[0]]), cache=layers)
        growing: dict[int | None, int] = {}
        constant_bytes = 0
        group_size: int | None = 64
        number_bytes = 1
        for part in parts(layers):
            keys = getattr(part, "keys", None)
            if type(part).__name__ != "KVCache":
                group_size = None
            elif group_size is not None and keys is not None:
                sizes = (keys.shape[-1], part.values.shape[-1])
                group_size = next((size for size in (64, 32) if not any(each % size for each in sizes)), None)
            if keys is None:
                constant_bytes += part.nbytes
            else:
                bound = getattr(part, "max_size", getattr(part, "chunk_size", None))
                growing[bound] = growing.get(bound, 0) + part.nbytes // keys.shape[2]
                number_bytes = keys.dtype.size
        return cls(
            tuple((size, bound) for bound, size in growing.items()),
            constant_bytes,
            merges,
            group_size,
            number_bytes,
            _weights_bytes(model),
            len(layers),
        )

    def in_bits(self, bits: int) -> KVCacheSize:
        """With keys and values in so many bits: each group of numbers has a scale and a bias beside them."""
        if self.group_size is None:
            return self
        bits_each = 8 * self.number_bytes
        quantized = bits + 2 * bits_each / self.group_size
        growing = tuple((math.ceil(size * quantized / bits_each), bound) for size, bound in self.growing)
        return replace(self, growing=growing)

    def bytes_for(self, tokens: int) -> int:
        """Memory for as many tokens."""
        whole = -(-tokens // _STEP_TOKENS) * _STEP_TOKENS
        return self.constant_bytes + sum(
            size * (whole if bound is None else min(whole, bound)) for size, bound in self.growing
        )

    def tokens_in(self, size_bytes: int) -> int | None:
        """How many tokens fit into that much memory; None where any number does."""
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
