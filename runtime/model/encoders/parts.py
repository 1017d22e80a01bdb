"""Parts shared by the encoders: bidirectional attention, activations, and reading checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import mlx.core as mx
from mlx.nn.layers import activations
from mlx.nn.layers.base import Module

Arguments = TypeVar("Arguments")


class Part(Module):
    """An empty module."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


def arguments(kind: type[Arguments], config: Mapping[str, Any]) -> Arguments:
    """Create the dataclass from a configuration; missing fields keep their defaults."""
    fields: Any = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: config[field.name] for field in fields if config.get(field.name) is not None})


def kept(weights: Mapping[str, mx.array], prefixes: Sequence[str], dropped: Sequence[str]) -> dict[str, mx.array]:
    """Tensors with the first matching prefix removed from their names; those of other heads are dropped."""
    found: dict[str, mx.array] = {}
    for name, array in weights.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        bare = name.removeprefix(prefix)
        if not bare.startswith(tuple(dropped)):
            found[bare] = array
    return found


def activation(name: str) -> Callable[[mx.array], mx.array]:
    """An activation function by its name in configurations.

    Raises:
        ValueError: the activation is not known.
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
    """The mask (shape [B, 1, 1, L]) that lets every token attend to all tokens except padding."""
    return real[:, None, None, :]


class Attention:
    """Multi-head attention; `mask` is true where a token (row) attends to another one (column)."""

    def __init__(self, heads: int) -> None:
        self._heads = heads

    def __call__(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> mx.array:
        rows, length, size = queries.shape
        split = (rows, length, self._heads, size // self._heads)
        queries, keys, values = (part.reshape(split).transpose(0, 2, 1, 3) for part in (queries, keys, values))
        return self.of_heads(queries, keys, values, mask)

    def of_heads(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> mx.array:
        """The same for tensors of shape [B, heads, L, size]; returns [B, L, heads * size]."""
        scale = queries.shape[-1] ** -0.5
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        return mixed.transpose(0, 2, 1, 3).reshape(queries.shape[0], queries.shape[2], -1)
