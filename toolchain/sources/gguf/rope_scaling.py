"""How a GGUF file's metadata scales rotary positions, as config.json says it. Factors in tensors: rope_factors.py."""

from __future__ import annotations

from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import Metadata

LINEAR: Final = "linear"
YARN: Final = "yarn"

_ATTENTION_FACTORS = ("yarn_attn_factor", "attn_factor")
"""What llama.cpp multiplies rotated queries and keys by, however positions are scaled. config.json cannot tell it."""


def rope_scaling(metadata: Metadata, known: frozenset[str]) -> dict[str, Any] | None:
    """What config.json calls `rope_scaling`; None where positions are taken as they are.

    Args:
        metadata: The file's.
        known: The kinds that mlx-lm's code of this architecture follows: `LINEAR`, `YARN`.

    Raises:
        UnsupportedGguf: another kind, or numbers that config.json has no name for.
        GgufMetadata: the keys are not what they should be.
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
            hint="take another model; scaled positions that are left out give wrong answers in long texts",
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
            hint="take another model; positions that are scaled otherwise give wrong answers",
        )
