"""Operations on mlx-lm's KV caches, lists with one entry for each layer: create, copy, merge, extract, rewind.

The KV cache of one sequence is updated in place, and MLX copies the memory only if another array shares it. So `shared`
copies cost nothing until one of them grows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxbuild.runtime.mlx_lm.package import submodule

KVCache = list[Any]
"""The KV cache of one sequence, or the merged one of all sequences of a batch: one entry for each layer."""

_USUAL_STEP_TOKENS = 256
"""By how many tokens mlx-lm's caches grow on their own."""


def fresh(model: Any) -> KVCache:
    """An empty KV cache for one sequence."""
    cache: KVCache = submodule("models.cache").make_prompt_cache(model)
    return cache


def compute(cache: KVCache, checkpoint: Callable[[], None]) -> None:
    """Evaluate the KV cache. `checkpoint` is called before each layer, which is not computed if it raises.

    The KV cache of a layer does not depend on later layers, and MLX computes only few operations ahead.
    """
    import mlx.core as mx

    for layer in cache:
        checkpoint()
        mx.async_eval(layer.state)  # type: ignore[no-untyped-call]
    mx.eval([layer.state for layer in cache])


def grow_by(cache: KVCache, tokens: int) -> None:
    """Let the KV cache grow by so many tokens at the next growth, as each growth copies all of it."""
    for leaf in _growing(cache):
        leaf.step = max(_USUAL_STEP_TOKENS, -(-tokens // _USUAL_STEP_TOKENS) * _USUAL_STEP_TOKENS)


def unshare(layer: Any) -> None:
    """Copy a growing KV cache into its own memory; otherwise the next token would copy those of all layers at once."""
    for leaf in _growing([layer]):
        if leaf.keys is not None:
            position = _position(leaf)
            resize(leaf, (position // _USUAL_STEP_TOKENS + 1) * _USUAL_STEP_TOKENS, position)


def grow_in_turn(cache: KVCache) -> None:
    """Enlarge one of the layers whose capacity is nearly used up: growth of all of them at once would be a stall."""
    growing = [leaf for leaf in _growing(cache) if leaf.keys is not None]
    for place, leaf in enumerate(growing):
        position = _position(leaf)
        capacity = leaf.keys.shape[2]
        if capacity - position == len(growing) - place:
            resize(leaf, capacity + leaf.step, position)


def _position(leaf: Any) -> int:
    position: int = leaf.offset if type(leaf).__name__ == "KVCache" else leaf._idx
    return position


def resize(leaf: Any, capacity_tokens: int, position: int) -> None:
    """Set the capacity of a KV cache: it keeps the tokens before `position`, followed by zeros."""
    import mlx.core as mx

    for name in ("keys", "values"):
        held = getattr(leaf, name)[..., :position, :]
        setattr(leaf, name, mx.pad(held, [(0, 0), (0, 0), (0, capacity_tokens - position), (0, 0)]))
    mx.eval(leaf.keys, leaf.values)


def _growing(cache: KVCache) -> Iterator[Any]:
    return (leaf for leaf in leaves(cache) if type(leaf).__name__ in ("KVCache", "BatchKVCache"))


def shared(cache: KVCache) -> KVCache:
    """A copy that shares its memory with the original, and that changes of the original do not affect."""
    return [_copied(layer) for layer in cache]


def _copied(layer: Any) -> Any:
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        setattr(twin, name, tuple(map(_copied, value)) if name == "caches" else _apart(value))
    return twin


def _apart(value: Any) -> Any:
    """New array objects over the same memory: assigning to items of an array affects all who hold that object."""
    import mlx.core as mx

    if isinstance(value, mx.array):
        return value[...]
    return type(value)(map(_apart, value)) if type(value) in (list, tuple) else value


def leaves(cache: KVCache) -> Iterator[Any]:
    """All single caches, without those that only group others."""
    for layer in cache:
        yield from leaves(list(layer.caches)) if hasattr(layer, "caches") else [layer]


def can_merge(cache: KVCache) -> bool:
    """Whether caches of this kind can be merged into a batch."""
    return all(hasattr(leaf, "merge") for leaf in leaves(cache))


def merged(caches: Sequence[KVCache]) -> KVCache:
    """The KV caches of several sequences merged into that of a batch."""
    return [layers[0].merge(list(layers)) for layers in zip(*caches, strict=True)]


def prefill_padded(
    run: Callable[[list[list[int]], KVCache], Any], prompts: Sequence[Sequence[int]], cache: KVCache
) -> int:
    """Run tokens of several sequences through `run` with their merged KV cache, the shorter ones padded on the right.

    Either all of them have tokens or none has: mlx-lm's sliding windows fail otherwise. Returns the number of tokens,
    padding included. Nothing is evaluated.
    """
    lengths = [len(tokens) for tokens in prompts]
    longest = max(lengths)
    padding = [longest - length for length in lengths]
    if not longest:
        return 0
    if any(padding):
        for layer in cache:
            layer.prepare(lengths=lengths, right_padding=padding)
    run([[*tokens, *[0] * missing] for tokens, missing in zip(prompts, padding, strict=True)], cache)
    if any(padding):
        for layer in cache:
            layer.finalize()
    return longest * len(prompts)


def extracted(cache: KVCache, row: int) -> KVCache:
    """The KV cache of one sequence, extracted from that of a batch."""
    import mlx.core as mx

    single = [layer.extract(row) for layer in cache]
    mx.eval([layer.state for layer in single])
    return single


def filtered(cache: KVCache, rows: Sequence[int]) -> KVCache:
    """The KV cache of a batch reduced to some rows. It is changed in place."""
    for layer in cache:
        layer.filter(list(rows))
    return cache


def quantized(cache: KVCache, bits: int, group_size: int) -> KVCache:
    """The KV cache with keys and values quantized to that many bits; it cannot be merged.

    Raises:
        NotImplementedError: mlx-lm cannot quantize caches of this kind.
    """
    if not all(type(layer).__name__ in ("KVCache", "QuantizedKVCache") for layer in cache):
        raise NotImplementedError
    return [
        layer.to_quantized(group_size=group_size, bits=bits) if hasattr(layer, "to_quantized") else layer
        for layer in cache
    ]


def can_rewind(cache: KVCache) -> bool:
    """Whether the last tokens can be removed: not from recurrent state, nor from a sliding window that has moved."""
    return all(type(leaf).__name__ in _REWINDABLE and leaf.is_trimmable() for leaf in leaves(cache))


_REWINDABLE = ("KVCache", "QuantizedKVCache", "RotatingKVCache")
"""Kinds that can be trimmed. Others claim to be trimmable, but trim fewer tokens than asked."""


def always_rewinds(cache: KVCache) -> bool:
    """Whether any number of tokens can be removed."""
    return all(type(leaf).__name__ in ("KVCache", "QuantizedKVCache") for leaf in leaves(cache))


def rewind(cache: KVCache, tokens: int) -> None:
    """Remove the last tokens."""
    for leaf in leaves(cache):
        leaf.trim(tokens)
        if type(leaf).__name__ == "KVCache" and leaf.keys is not None:  # so that the removed tokens are not copied
            leaf.keys, leaf.values = leaf.keys_and_values()


def nbytes(cache: KVCache) -> int:
    """Memory of the KV cache in bytes."""
    return sum(layer.nbytes for layer in cache)
