"""A decode step: a forward pass that gives every sequence its next logits; compiled where one is alone.

On a CPU a small model spends most of a step in laying out its operations and in moving from one to the next.
`mx.compile` lays them out once, leaves out what is computed twice, and makes one of several. It needs shapes that stay
as they are, so the compiled pass sees the whole room of the KV caches, and a position in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, give_room, grow_in_turn, shared
from mlxbuild.runtime.engine.core.rotary_positions import share_rotations

if TYPE_CHECKING:
    import mlx.core as mx

_ROOM_TOKENS = 256
"""KV caches have room for a multiple of it: each size is compiled by itself."""
WORTHWHILE_BYTES = 128 << 20
"""Models with larger weights spend their time in multiplying."""
_TOLERANCE = 1e-3
"""Of the largest logit: what another order of sums may change."""

_log = logging.getLogger(__name__)


class Step:
    """Passes of one token of each row. For the engine's thread alone."""

    def __init__(self, model: Any) -> None:
        """For a model of mlx-lm. Nothing is compiled before `compile` is called."""
        self._model = model
        self._compiled: Callable[..., tuple[mx.array, list[mx.array]]] | None = None
        self._is_checked = False

    def compile(self) -> None:
        """From now on compile; the first pass is compared with a plain one, which stays the way if they differ."""
        import mlx.core as mx

        share_rotations(self._model)
        self._compiled = mx.compile(self._pass)

    @property
    def is_compiled(self) -> bool:
        """Whether passes of a row by itself are compiled."""
        return self._compiled is not None

    def __call__(self, tokens: mx.array, layers: KVCache) -> mx.array:
        """Logits (shape [B, V]) after one more token of each row (shape [B]), which goes into its KV caches."""
        if self._compiled is not None and tokens.shape[0] == 1 and can_compile(layers):
            logits = self._checked(tokens, layers) if not self._is_checked else self._run(tokens, layers)
            if logits is not None:
                return logits
        grow_in_turn(layers)
        return self._plain(tokens, layers)

    def _plain(self, tokens: mx.array, layers: KVCache) -> mx.array:
        logits: mx.array = self._model(tokens[:, None], cache=layers)[:, -1, :]
        return logits

    def _checked(self, tokens: mx.array, layers: KVCache) -> mx.array | None:
        """As `_run`, if that gives what a plain pass gives; None, and never again, if it does not."""
        import mlx.core as mx

        self._is_checked = True
        expected = self._plain(tokens, shared(layers))
        mine = shared(layers)
        try:
            logits = self._run(tokens, mine)
            is_same = bool(mx.all(mx.abs(logits - expected) <= _TOLERANCE * mx.abs(expected).max()).item())
        except Exception as error:  # noqa: BLE001 - models are code of all kinds; the plain pass is always right
            _log.info("steps of this model are not compiled: %s", error)
            is_same = False
        if not is_same:
            self._compiled = None
            return None
        layers[:] = mine
        return logits

    def _run(self, tokens: mx.array, layers: KVCache) -> mx.array:
        import mlx.core as mx

        assert self._compiled is not None
        position = layers[0].offset
        arrays = []
        for layer in layers:
            _make_room(layer)
            arrays += [layer.keys, layer.values]
        logits, arrays = self._compiled(tokens, mx.array(position), arrays)
        for place, layer in enumerate(layers):
            layer.keys, layer.values = arrays[2 * place : 2 * place + 2]
            layer.offset = position + 1
        return logits

    def _pass(self, tokens: mx.array, position: mx.array, arrays: list[mx.array]) -> tuple[mx.array, list[mx.array]]:
        """What is compiled: a function of arrays."""
        layers = [_Room(position, *arrays[place : place + 2]) for place in range(0, len(arrays), 2)]
        logits = self._plain(tokens, layers)
        return logits, [array for layer in layers for array in (layer.keys, layer.values)]


def can_compile(layers: KVCache) -> bool:
    """Whether KV caches are all of the plain kind, equally long, and begun."""
    return all(
        type(layer).__name__ == "KVCache" and layer.keys is not None and layer.offset == layers[0].offset
        for layer in layers
    )


class _Room:
    """A KV cache of which all the room is seen; a mask hides what lies behind the position. As mlx-lm asks it."""

    def __init__(self, offset: mx.array, keys: mx.array, values: mx.array) -> None:
        self.offset, self.keys, self.values = offset, keys, values

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        import mlx.core as mx

        self.keys = mx.slice_update(self.keys, keys, self.offset, axes=(2,))
        self.values = mx.slice_update(self.values, values, self.offset, axes=(2,))
        self.offset = self.offset + 1
        return self.keys, self.values

    def make_mask(self, _: int, *, return_array: bool = False, window_size: int | None = None) -> mx.array:
        """For one token. Shape [1, room]: true for what it may see, itself included."""
        import mlx.core as mx

        places = mx.arange(self.keys.shape[2])[None]
        visible = places <= self.offset
        return visible if window_size is None else visible & (places > self.offset - window_size)


def _make_room(layer: Any) -> None:
    """Have room for one more token, in one of the few sizes."""
    room = layer.keys.shape[2]
    if layer.offset >= room or room % _ROOM_TOKENS:
        give_room(layer, (layer.offset // _ROOM_TOKENS + 1) * _ROOM_TOKENS, layer.offset)
