"""Fuses LoRA adapters in mlx-lm's form into weights, like `mlx_lm.tuner.lora`, with the same bytes on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mlx.core as mx

from mlxbuild.registry.core.errors import StepError
from mlxbuild.runtime.mlx_lm.package import submodule

_PIECE_NUMBERS: Final = 1 << 17
"""Numbers of a product that are computed at once, so that the partial sums stay in the processor's cache."""


class UnusableAdapter(StepError):
    """An adapter cannot be fused into this model."""

    code = "unusable-adapter"


@dataclass(frozen=True, slots=True)
class LowRankUpdate:
    """The low-rank update of one module by one adapter."""

    scale: float
    lora_a: mx.array
    lora_b: mx.array


def adapter_scale(configuration: bytes, factor: float, where: str) -> float:
    """The scale in an `adapter_config.json`, times the recipe's own factor.

    Raises:
        UnusableAdapter: it is not a LoRA adapter in mlx-lm's form.
    """
    try:
        config = json.loads(configuration)
        kind = config.get("fine_tune_type", "lora")
        if kind != "lora":
            raise UnusableAdapter(f"adapters of type `{kind}` cannot be fused", where=where, hint="use a LoRA adapter")
        return float(config["lora_parameters"]["scale"]) * factor
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnusableAdapter(
            "adapter_config.json names no `lora_parameters.scale`",
            where=where,
            hint="use a LoRA adapter as mlx-lm or PEFT writes it, its files under the names that they had",
        ) from error


def updates_by_module(tensors: Mapping[str, mx.array], scale: float, where: str) -> Mapping[str, LowRankUpdate]:
    """Pair the `lora_a` and `lora_b` of an adapter by module path.

    Raises:
        UnusableAdapter: a tensor is neither of them, or has no counterpart.
    """
    updates = {}
    for name in tensors:
        path, _, leaf = name.rpartition(".")
        partner = {"lora_a": "lora_b", "lora_b": "lora_a"}.get(leaf)
        if partner is None or f"{path}.{partner}" not in tensors:
            raise UnusableAdapter(f"adapter tensor `{name}` is not half of a LoRA pair", where=where)
        updates[path] = LowRankUpdate(scale, tensors[f"{path}.lora_a"], tensors[f"{path}.lora_b"])
    return updates


def fused(weight: mx.array, module: Any, path: str, updates: Sequence[LowRankUpdate]) -> mx.array:
    """The weight of a module with its updates added one after another, lazily.

    Raises:
        UnusableAdapter: mlx-lm does not fuse into this type of module, or the shapes do not fit.
    """
    from mlx.nn.layers.embedding import Embedding
    from mlx.nn.layers.linear import Linear

    for update in updates:
        try:
            if isinstance(module, Linear):
                delta = product(update.scale * update.lora_b.T, update.lora_a.T)
            elif isinstance(module, Embedding):
                delta = product(update.scale * update.lora_a, update.lora_b)
            elif isinstance(module, submodule("models.switch_layers").SwitchLinear):
                experts, _, columns = weight.shape
                delta = product(update.scale * update.lora_b, update.lora_a.reshape(experts, -1, columns))
            else:
                raise UnusableAdapter(f"`{path}` is a {type(module).__name__}, which takes no LoRA adapter")
            if delta.shape != weight.shape:
                raise ValueError(f"update of shape {delta.shape} on a weight of shape {weight.shape}")
        except ValueError as error:
            raise UnusableAdapter(
                f"the adapter does not fit `{path}`: {error}",
                hint="is the adapter made for this base model?",
            ) from error
        weight = weight + delta.astype(weight.dtype)
    return weight


def product(left: mx.array, right: mx.array) -> mx.array:
    """`left @ right` in float32, lazily and with a fixed order of sums, unlike in matrix libraries."""
    if left.shape[-1] != right.shape[-2] or not left.shape[-1]:
        raise ValueError(f"ranks {left.shape[-1]} and {right.shape[-2]}")
    left, right = left.astype(mx.float32), right.astype(mx.float32)
    step = max(1, _PIECE_NUMBERS * left.shape[-2] // (left.size // left.shape[-1] * right.shape[-1]))
    pieces = []
    for begin in range(0, left.shape[-2], step):
        rows = left[..., begin : begin + step, :]
        piece = rows[..., :1] * right[..., :1, :]
        for rank in range(1, rows.shape[-1]):
            piece = piece + rows[..., rank : rank + 1] * right[..., rank : rank + 1, :]
        pieces.append(piece)
    return mx.concatenate(pieces, axis=-2)
