"""What is derived from a GGUF header for the rest of the toolchain: documents as in a folder, and where tensors go.

Plain data. Which documents and places a header gives is decided by the families beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """What one tensor of a GGUF file is in the model."""

    name: str
    """As in a checkpoint that mlx-lm reads: `model.layers.0.self_attn.q_proj.weight`."""
    permuted_heads: int | None = None
    """Of how many heads the converter interleaved the two halves of rows (llama's q and k), to be undone."""
    offset: float = 0.0
    """What the converter added to each number (gemma's norms: 1.0), to be subtracted."""
    leading_one: bool = False
    """Whether the model's tensor has an axis of length 1 before those of the file's."""


@dataclass(frozen=True, slots=True)
class DerivedModel:
    """Everything that is built of a GGUF file, its weights aside."""

    documents: Mapping[str, bytes]
    """`config.json`, `generation_config.json`, `chat_template.jinja`, and if asked for `tokenizer.json` and
    `tokenizer_config.json`: path to content, the same bytes on every machine."""
    placements: Mapping[str, Placement]
    """Name in the GGUF file to the model's tensor; tensors that the model does without are left out."""
