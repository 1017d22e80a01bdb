"""Converts the RoPE scaling in a GGUF file's metadata to config.json; rope_factors.py converts factors in tensors."""

from __future__ import annotations

from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import Metadata

LINEAR: Final = "linear"
YARN: Final = "yarn"

_ATTENTION_FACTORS = ("yarn_attn_factor", "attn_factor")
"""Factors by which llama.cpp multiplies rotated queries and keys. config.json cannot express them."""


def rope_scaling(metadata: Metadata, known: frozenset[str]) -> dict[str, Any] | None:
    """The value of `rope_scaling` in config.json; None without scaling.

    Args:
        metadata: Metadata of the file.
        known: The types that mlx-lm's code for this architecture supports: `LINEAR`, `YARN`.

    Raises:
        UnsupportedGguf: it is another type, or has parameters that config.json cannot express.
        GgufMetadata: a value is invalid.
    """
    for name in _ATTENTION_FACTORS:
        _check_one(metadata, metadata.own(f"rope.scaling.{name}"))
    kind_key = metadata.own("rope.scaling.type")
    kind = metadata.text(kind_key, LINEAR)
    factor_key = metadata.own("rope.scaling.factor")
    if not metadata.has(factor_key):
        factor_key = metadata.own("rope.scale_linear")
    factor = metadata.number(factor_key, 1.0)
    if kind == "none" or (kind == LINEAR and factor in (0.0, 1.0)):
        return None
    if kind not in known:
        raise UnsupportedGguf(
            f"`{kind_key}` is `{kind[:60]}`, and mlx-lm's code of this architecture does not scale positions like that",
            where=metadata.where,
            hint="use another model; scaled positions that are left out give wrong answers in long texts",
        )
    if factor < 1.0:
        metadata.fail(f"`{factor_key}` is {factor}, where 1 or more is expected")
    if kind == LINEAR:
        return {"type": LINEAR, "rope_type": LINEAR, "factor": factor}
    return _yarn(metadata, factor)


def _yarn(metadata: Metadata, factor: float) -> dict[str, Any]:
    _check_one(metadata, metadata.own("rope.scaling.yarn_ext_factor"))
    scaling = {
        "type": YARN,
        "rope_type": YARN,
        "factor": factor,
        "original_max_position_embeddings": metadata.count(metadata.own("rope.scaling.original_context_length")),
    }
    for name in ("beta_fast", "beta_slow"):
        key = metadata.own(f"rope.scaling.yarn_{name}")
        if metadata.has(key):
            scaling[name] = metadata.number(key)
    return scaling


def _check_one(metadata: Metadata, key: str) -> None:
    value = metadata.number(key, 1.0)
    if value != 1.0:
        raise UnsupportedGguf(
            f"`{key}` is {value}, where mlx-lm's code takes it for 1.0",
            where=metadata.where,
            hint="use another model; positions that are scaled otherwise give wrong answers",
        )
