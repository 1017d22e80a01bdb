"""Phi 3 and 4: fused query, key and value tensors, fused gate and up projections, and LongRoPE if factors are there."""

from __future__ import annotations

import math
from typing import Any

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.families.decoder import (
    NORMS,
    decoder_tensors,
    feed_forward_size,
    rotary_base,
    shared_head_size,
    sizes,
)
from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.rope_factors import LONG_FACTORS, SHORT_FACTORS, shortest
from mlxbuild.toolchain.sources.gguf.rope_scaling import rope_scaling

_LAYER = {
    **NORMS,
    "attn_qkv.weight": "self_attn.qkv_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_up.weight": "mlp.gate_up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_LONG_ROPE = "longrope"
_TOLERANCE = 1e-5


def _configuration(model: GgufModel) -> dict[str, Any]:
    metadata = model.metadata
    context = metadata.count(metadata.own("context_length"))
    original = metadata.count(metadata.own("rope.scaling.original_context_length"), context)
    size = shared_head_size(model)
    rotated = metadata.count(metadata.own("rope.dimension_count"), size)
    part = rotated / size
    if rotated > size or rotated % 2 or int(size * part) != rotated:
        metadata.fail(f"`{metadata.own('rope.dimension_count')}` is {rotated}, but a head has {size} numbers")
    window = metadata.count(metadata.own("attention.sliding_window"), 0, least=0)
    return {
        **sizes(model),
        "hidden_act": "silu",
        "intermediate_size": feed_forward_size(model),
        "original_max_position_embeddings": original,
        "partial_rotary_factor": part,
        "rope_theta": rotary_base(model),
        "rope_scaling": _scaling(model, context, original, rotated),
        "sliding_window": window or None,
    }


def _scaling(model: GgufModel, context: int, original: int, rotated: int) -> dict[str, Any] | None:
    metadata = model.metadata
    if LONG_FACTORS not in model.shapes and SHORT_FACTORS not in model.shapes:
        return rope_scaling(metadata, frozenset())
    try:
        factors = {name: model.factors.get(name) for name in (LONG_FACTORS, SHORT_FACTORS)}
        if any(values is None for values in factors.values()):
            raise ValueError("their values were not read, or one of the two is missing")
        if metadata.text(metadata.own("rope.scaling.type"), _LONG_ROPE) != _LONG_ROPE:
            raise ValueError("the metadata names another scaling")
        _check_attention_factor(model, context, original)
        named = {name: shortest(values or (), rotated // 2) for name, values in factors.items()}
    except ValueError as error:
        raise UnsupportedGguf(
            f"the tensors `{LONG_FACTORS}` and `{SHORT_FACTORS}` cannot be expressed in config.json: {error}",
            where=metadata.where,
            hint="use another model; positions that are scaled otherwise give wrong answers",
        ) from None
    return {
        "type": _LONG_ROPE,
        "rope_type": _LONG_ROPE,
        "long_factor": named[LONG_FACTORS],
        "short_factor": named[SHORT_FACTORS],
    }


def _check_attention_factor(model: GgufModel, context: int, original: int) -> None:
    """Check the attention factor, which config.json does not hold: it follows from the two context lengths."""
    scale = context / original
    known = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1.0 and original > 1 else 1.0
    given = model.metadata.number(model.metadata.own("rope.scaling.attn_factor"), known)
    if abs(given - known) > _TOLERANCE * known:
        raise ValueError(f"attention is scaled by {given}, not by {known:.6f} as the context lengths imply")


def _tensors(model: GgufModel) -> dict[str, Placement | None]:
    tensors = decoder_tensors(model, _LAYER)
    factors = (name for name in (LONG_FACTORS, SHORT_FACTORS) if name in model.shapes)
    return tensors | dict.fromkeys(factors)


PHI3 = Family("phi3", "Phi3ForCausalLM", _configuration, _tensors)
