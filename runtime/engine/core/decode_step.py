"""A decode step: a forward pass that gives the next logits of every sequence; compiled for a single sequence.

On a CPU a small model spends most of a step on building its graph and on switching between operations. `mx.compile`
builds the graph once, removes duplicates and fuses operations. It needs fixed shapes, so the compiled pass gets the
whole capacity of the KV cache, and a position in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, grow_in_turn, resize, shared
from mlxbuild.runtime.engine.core.rotary_positions import share_rotations

if TYPE_CHECKING:
    import mlx.core as mx

_CAPACITY_TOKENS = 256
"""The capacity of a KV cache is a multiple of this; each capacity is compiled separately."""
WORTHWHILE_BYTES = 128 << 20
"""Models with larger weights spend their time on matrix products, and gain nothing from compiling."""
_TOLERANCE = 1e-3
"""Tolerated error relative to the largest logit, as another order of summation may cause it."""

_log = logging.getLogger(__name__)


class DecodeStep:
    """The decode step of a model. Only for the engine's thread."""

    def __init__(self, model: Any) -> None:
        """For a model of mlx-lm. Nothing is compiled before `compile` is called."""
        self._model = model
        self._compiled: Callable[..., tuple[mx.array, list[mx.array]]] | None = None
        self._is_checked = False

    def compile(self) -> None:
        """Use compiled passes from now on, unless the first one differs from an uncompiled pass."""
        import mlx.core as mx

        share_rotations(self._model)
        self._compiled = mx.compile(self._pass)

    @property
    def is_compiled(self) -> bool:
        """Whether passes of a single sequence are compiled."""
        return self._compiled is not None

    def __call__(self, tokens: mx.array, cache: KVCache) -> mx.array:
        """Logits (shape [B, V]) after one more token of each sequence (shape [B]), which is added to the KV cache."""
        if self._compiled is not None and tokens.shape[0] == 1 and can_compile(cache):
            logits = self._checked(tokens, cache) if not self._is_checked else self._run(tokens, cache)
            if logits is not None:
                return logits
        grow_in_turn(cache)
        return self._plain(tokens, cache)

    def _plain(self, tokens: mx.array, cache: KVCache) -> mx.array:
        logits: mx.array = self._model(tokens[:, None], cache=cache)[:, -1, :]
        return logits

    def _checked(self, tokens: mx.array, cache: KVCache) -> mx.array | None:
        """As `_run`, if its result equals that of an uncompiled pass; otherwise None, and compiling is turned off."""
        import mlx.core as mx

        self._is_checked = True
        expected = self._plain(tokens, shared(cache))
        mine = shared(cache)
        try:
            logits = self._run(tokens, mine)
            is_same = bool(mx.all(mx.abs(logits - expected) <= _TOLERANCE * mx.abs(expected).max()).item())
        except Exception as error:  # noqa: BLE001 - models are code of all kinds; the plain pass is always right
            _log.info("steps of this model are not compiled: %s", error)
            is_same = False
        if not is_same:
            self._compiled = None
            return None
        cache[:] = mine
        return logits

    def _run(self, tokens: mx.array, cache: KVCache) -> mx.array:
        import mlx.core as mx

        assert self._compiled is not None
        position = cache[0].offset
        arrays = []
        for layer in cache:
            _ensure_capacity(layer)
            arrays += [layer.keys, layer.values]
        logits, arrays = self._compiled(tokens, mx.array(position), arrays)
        for place, layer in enumerate(cache):
            layer.keys, layer.values = arrays[2 * place : 2 * place + 2]
            layer.offset = position + 1
        return logits

    def _pass(self, tokens: mx.array, position: mx.array, arrays: list[mx.array]) -> tuple[mx.array, list[mx.array]]:
        """The function that is compiled, on arrays only."""
        cache = [_FixedCache(position, *arrays[place : place + 2]) for place in range(0, len(arrays), 2)]
        logits = self._plain(tokens, cache)
        return logits, [array for layer in cache for array in (layer.keys, layer.values)]


def can_compile(cache: KVCache) -> bool:
    """Whether all layers are plain KV caches of the same length that are not empty."""
    return all(
        type(layer).__name__ == "KVCache" and layer.keys is not None and layer.offset == cache[0].offset
        for layer in cache
    )


class _FixedCache:
    """A KV cache with a fixed shape, for mlx-lm's models; a mask hides what lies behind the position."""

    def __init__(self, offset: mx.array, keys: mx.array, values: mx.array) -> None:
        self.offset, self.keys, self.values = offset, keys, values

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        import mlx.core as mx

        self.keys = mx.slice_update(self.keys, keys, self.offset, axes=(2,))
        self.values = mx.slice_update(self.values, values, self.offset, axes=(2,))
        self.offset = self.offset + 1
        return self.keys, self.values

    def make_mask(self, _: int, *, return_array: bool = False, window_size: int | None = None) -> mx.array:
        """The mask of one token (shape [1, capacity]): true for what it may attend to, itself included."""
        import mlx.core as mx

        places = mx.arange(self.keys.shape[2])[None]
        visible = places <= self.offset
        return visible if window_size is None else visible & (places > self.offset - window_size)


def _ensure_capacity(layer: Any) -> None:
    """Make room for one more token, with a capacity that is a multiple of `_CAPACITY_TOKENS`."""
    room = layer.keys.shape[2]
    if layer.offset >= room or room % _CAPACITY_TOKENS:
        resize(layer, (layer.offset // _CAPACITY_TOKENS + 1) * _CAPACITY_TOKENS, layer.offset)
