"""What the encoders share: attention in both directions, activations, and how a checkpoint is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import mlx.core as mx
from mlx.nn.layers import activations
from mlx.nn.layers.base import Module

Arguments = TypeVar("Arguments")


class Part(Module):
    """A module with nothing in it yet."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


def arguments(kind: type[Arguments], config: Mapping[str, Any]) -> Arguments:
    """The fields that a configuration gives; the dataclass has the others' defaults."""
    fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: config[field.name] for field in fields if config.get(field.name) is not None})


def kept(weights: Mapping[str, mx.array], prefixes: Sequence[str], dropped: Sequence[str]) -> dict[str, mx.array]:
    """Tensors by their name without the first prefix that they have; those of other heads are left out."""
    found: dict[str, mx.array] = {}
    for name, array in weights.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        bare = name.removeprefix(prefix)
        if not bare.startswith(tuple(dropped)):
            found[bare] = array
    return found


def activation(name: str) -> Callable[[mx.array], mx.array]:
    """By the name that configurations give it.

    Raises:
        ValueError: no such activation is known.
    """
    known: dict[str, Callable[[mx.array], mx.array]] = {
        "gelu": activations.gelu,
        "gelu_new": activations.gelu_approx,
        "gelu_pytorch_tanh": activations.gelu_approx,
        "relu": activations.relu,
        "silu": activations.silu,
    }
    if name not in known:
        raise ValueError(f"the activation `{name}` is not known")
    return known[name]


def attended(real: mx.array) -> mx.array:
    """The mask (shape [B, 1, 1, L]) by which every token sees all that are no padding."""
    return real[:, None, None, :]


class Attention:
    """Attention of several heads; `mask` is true where a token (row) sees another one (column)."""

    def __init__(self, heads: int) -> None:
        self._heads = heads

    def __call__(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> mx.array:
        rows, length, size = queries.shape
        split = (rows, length, self._heads, size // self._heads)
        queries, keys, values = (part.reshape(split).transpose(0, 2, 1, 3) for part in (queries, keys, values))
        return self.of_heads(queries, keys, values, mask)

    def of_heads(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> mx.array:
        """The same for parts of shape [B, heads, L, size]; gives [B, L, heads * size]."""
        scale = queries.shape[-1] ** -0.5
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        return mixed.transpose(0, 2, 1, 3).reshape(queries.shape[0], queries.shape[2], -1)
