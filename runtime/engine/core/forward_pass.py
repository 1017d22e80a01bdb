"""A forward pass that is computed a few layers at a time. Which tokens go through it is decided in `prefill`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxbuild.runtime.engine.core.kv_cache import KVCache, compute

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(slots=True)
class ForwardPass:
    """A forward pass over some tokens whose graph is built, and how far it has been computed.

    MLX computes only what is asked for, and the KV cache of a layer does not depend on later layers.
    """

    cache: KVCache
    tokens: int
    """How many tokens go through the layers, padding included."""
    allocates: bool = False
    """Whether the KV caches are allocated for a whole long prompt in this pass, which is then done one layer at a time.
    """
    passed: int = 0
    """How many layers have their KV cache computed."""
    under_way: mx.array | None = None
    """An array that is evaluated together with the last layers; None if they were waited for."""

    @property
    def is_over(self) -> bool:
        """Whether the KV caches of all layers are computed."""
        return self.passed == len(self.cache)

    def advance(self, most: Callable[[int], int] | None, checkpoint: Callable[[], None]) -> int:
        """Compute as many more layers as `most` allows for this number of tokens, or all of them; returns how many.

        If all are computed, they are waited for, with a call of `checkpoint` before each (see `compute`). The KV cache
        of a layer needs the layers before it only: the first one costs little more than its allocation, and nothing has
        to go through the last layer.
        """
        import mlx.core as mx

        first = self.passed
        if most is None:
            self.passed = len(self.cache)
        else:
            count = 1 if self.allocates else most(self.tokens)
            begin = first if self.allocates else max(first, 1)
            self.passed = min(begin + count, len(self.cache))
        layers = self.cache[first : self.passed]
        if most is None:
            self.under_way = None
            compute(layers, checkpoint)
        else:  # the graph of the next step is built meanwhile
            self.under_way = mx.zeros(1)  # evaluated with the rest by one call, and keeps no KV cache alive
            mx.async_eval([layer.state for layer in layers], self.under_way)  # type: ignore[no-untyped-call]
        return max(self.passed - max(first, 1), 1)
