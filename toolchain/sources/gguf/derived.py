"""The result of deriving a model from a GGUF header: the documents of a model folder, and where each tensor goes.

Plain data; the family of a model decides its documents and placements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of one GGUF tensor in the model."""

    name: str
    """Name in a checkpoint that mlx-lm reads: `model.layers.0.self_attn.q_proj.weight`."""
    permuted_heads: int | None = None
    """The number of heads whose halves of rows the converter interleaved (llama's q and k); the build reverses it."""
    offset: float = 0.0
    """The number that the converter added to every element (gemma's norms: 1.0); the build subtracts it."""
    leading_one: bool = False
    """Whether the model's tensor has an extra leading axis of length 1."""


@dataclass(frozen=True, slots=True)
class DerivedModel:
    """Everything that is derived from a GGUF file, apart from its weights."""

    documents: Mapping[str, bytes]
    """Path to content of `config.json`, `generation_config.json`, `chat_template.jinja` and, if requested,
    `tokenizer.json` and `tokenizer_config.json`; the same bytes on every machine."""
    placements: Mapping[str, Placement]
    """Tensor name in the GGUF file to its placement; tensors that the model does not need are left out."""
