"""mlx-lm's KV caches, a list with one for each layer: alone, copied, and merged into a batch. Who keeps them: others.

A KV cache of one row is changed in place, and MLX writes into a copy as long as another array has the same memory.
So `shared` copies cost nothing until one of them grows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxbuild.runtime.model.mlx_lm_package import submodule

KVCache = list[Any]
"""Of one row, or merged, of all rows of a batch."""

_USUAL_STEP_TOKENS = 256
"""As mlx-lm's caches grow by themselves."""


def fresh(model: Any) -> KVCache:
    """Empty ones."""
    layers: KVCache = submodule("models.cache").make_prompt_cache(model)
    return layers


def compute(layers: KVCache, checkpoint: Callable[[], None]) -> None:
    """Wait for what layers are to hold. `checkpoint` is called before each, which is not begun if it raises.

    The cache of a layer needs nothing of the layers behind it, and MLX computes few operations ahead.
    """
    import mlx.core as mx

    for layer in layers:
        checkpoint()
        mx.async_eval(layer.state)  # type: ignore[no-untyped-call]
    mx.eval([layer.state for layer in layers])


def grow_by(layers: KVCache, tokens: int) -> None:
    """Have layers make room for so many tokens when they grow next; each growth copies all that is there."""
    for part in _growing(layers):
        part.step = max(_USUAL_STEP_TOKENS, -(-tokens // _USUAL_STEP_TOKENS) * _USUAL_STEP_TOKENS)


def take_apart(layer: Any) -> None:
    """Have a KV cache lie in memory of its own, if it grows: else the next token copies all of it for all layers."""
    for part in _growing([layer]):
        if part.keys is not None:
            position = _position(part)
            give_room(part, (position // _USUAL_STEP_TOKENS + 1) * _USUAL_STEP_TOKENS, position)


def grow_in_turn(layers: KVCache) -> None:
    """Make room in one of the layers whose room is about to end: that all of them grow in one step would be a stall."""
    growing = [part for part in _growing(layers) if part.keys is not None]
    for place, part in enumerate(growing):
        position = _position(part)
        room = part.keys.shape[2]
        if room - position == len(growing) - place:
            give_room(part, room + part.step, position)


def _position(part: Any) -> int:
    position: int = part.offset if type(part).__name__ == "KVCache" else part._idx
    return position


def give_room(part: Any, room_tokens: int, position: int) -> None:
    """Have a KV cache hold what it has before a position, and zeros from there on."""
    import mlx.core as mx

    for name in ("keys", "values"):
        held = getattr(part, name)[..., :position, :]
        setattr(part, name, mx.pad(held, [(0, 0), (0, 0), (0, room_tokens - position), (0, 0)]))
    mx.eval(part.keys, part.values)


def _growing(layers: KVCache) -> Iterator[Any]:
    return (part for part in parts(layers) if type(part).__name__ in ("KVCache", "BatchKVCache"))


def shared(layers: KVCache) -> KVCache:
    """Copies that share all memory with the originals, and that no change of the originals changes."""
    return [_copied(layer) for layer in layers]


def _copied(layer: Any) -> Any:
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        setattr(twin, name, tuple(map(_copied, value)) if name == "caches" else _apart(value))
    return twin


def _apart(value: Any) -> Any:
    """Arrays of their own over the same memory: setting items of an array is seen by all who have that very object."""
    import mlx.core as mx

    if isinstance(value, mx.array):
        return value[...]
    return type(value)(map(_apart, value)) if type(value) in (list, tuple) else value


def parts(layers: KVCache) -> Iterator[Any]:
    """The KV caches without those that only group others."""
    for layer in layers:
        yield from parts(list(layer.caches)) if hasattr(layer, "caches") else [layer]


def can_merge(layers: KVCache) -> bool:
    """Whether several rows can be computed together."""
    return all(hasattr(part, "merge") for part in parts(layers))


def merged(rows: Sequence[KVCache]) -> KVCache:
    """The caches of several rows as those of a batch."""
    return [caches[0].merge(list(caches)) for caches in zip(*rows, strict=True)]


def read_padded(read: Callable[[list[list[int]], KVCache], Any], rows: Sequence[Sequence[int]], layers: KVCache) -> int:
    """Have tokens of several rows read into their merged KV caches, the shorter ones padded on the right.

    Each row has a token at least, or none has any: mlx-lm's sliding windows fail where one token is read beside none.
    Returns how many tokens were read, padding included. Nothing is evaluated.
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    padding = [longest - length for length in lengths]
    if not longest:
        return 0
    if any(padding):
        for layer in layers:
            layer.prepare(lengths=lengths, right_padding=padding)
    read([[*row, *[0] * missing] for row, missing in zip(rows, padding, strict=True)], layers)
    if any(padding):
        for layer in layers:
            layer.finalize()
    return longest * len(rows)


def extracted(layers: KVCache, row: int) -> KVCache:
    """The caches of one row, taken out of those of a batch."""
    import mlx.core as mx

    single = [layer.extract(row) for layer in layers]
    mx.eval([layer.state for layer in single])
    return single


def filtered(layers: KVCache, rows: Sequence[int]) -> KVCache:
    """The caches of a batch without the other rows; the given ones are used up."""
    for layer in layers:
        layer.filter(list(rows))
    return layers


def quantized(layers: KVCache, bits: int, group_size: int) -> KVCache:
    """With keys and values in so many bits; such caches cannot be merged.

    Raises:
        NotImplementedError: mlx-lm has no such form of them.
    """
    if not all(type(layer).__name__ in ("KVCache", "QuantizedKVCache") for layer in layers):
        raise NotImplementedError
    return [
        layer.to_quantized(group_size=group_size, bits=bits) if hasattr(layer, "to_quantized") else layer
        for layer in layers
    ]


def can_rewind(layers: KVCache) -> bool:
    """Whether tokens can be taken back. Recurrent state cannot, nor a sliding window that has slid."""
    return all(type(part).__name__ in _REWINDABLE and part.is_trimmable() for part in parts(layers))


_REWINDABLE = ("KVCache", "QuantizedKVCache", "RotatingKVCache")
"""Others say that they can be trimmed, and trim less than asked."""


def always_rewinds(layers: KVCache) -> bool:
    """Whether tokens can be taken back however many there are."""
    return all(type(part).__name__ in ("KVCache", "QuantizedKVCache") for part in parts(layers))


def rewind(layers: KVCache, tokens: int) -> None:
    """Take the last tokens back."""
    for part in parts(layers):
        part.trim(tokens)
        if type(part).__name__ == "KVCache" and part.keys is not None:  # so that what is taken back is not copied
            part.keys, part.values = part.keys_and_values()


def nbytes(layers: KVCache) -> int:
    """Memory that they hold."""
    return sum(layer.nbytes for layer in layers)
