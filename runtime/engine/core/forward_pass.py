"""A forward pass that goes through the model a few layers at a time. Whose tokens these are: `prefill`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxbuild.runtime.engine.core.kv_cache import KVCache, compute

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(slots=True)
class ForwardPass:
    """What was laid out of a model's pass over some tokens, and how far it is computed.

    MLX computes what is asked for, and the cache of a layer needs nothing of the layers behind it.
    """

    layers: KVCache
    tokens: int
    """Padding included."""
    makes_room: bool = False
    """Whether KV caches are made for all of a long prompt now: one at a time, then."""
    passed: int = 0
    """How many KV caches the tokens have come to."""
    under_way: mx.array | None = None
    """Computed when the last part is; None where it was waited for."""

    @property
    def is_over(self) -> bool:
        """Whether the tokens are in all KV caches."""
        return self.passed == len(self.layers)

    def advance(self, most: Callable[[int], int] | None, checkpoint: Callable[[], None]) -> int:
        """Go through so many layers more as `most` says of that many tokens, or through all; returns how many.

        All of them are waited for, with a `checkpoint` before each (see `compute`).
        What comes to the cache of a layer has gone through the layers before it: so the first cache costs nothing but
        its making, and nothing goes through the last layer.
        """
        import mlx.core as mx

        first = self.passed
        if most is None:
            self.passed = len(self.layers)
        else:
            count = 1 if self.makes_room else most(self.tokens)
            begin = first if self.makes_room else max(first, 1)
            self.passed = min(begin + count, len(self.layers))
        layers = self.layers[first : self.passed]
        if most is None:
            self.under_way = None
            compute(layers, checkpoint)
        else:  # the next step is laid out meanwhile
            self.under_way = mx.zeros(1)  # ready with what else is computed by one call, and holds no cache
            mx.async_eval([layer.state for layer in layers], self.under_way)  # type: ignore[no-untyped-call]
        return max(self.passed - max(first, 1), 1)
