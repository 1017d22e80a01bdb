"""Llama, Mistral and Mixtral, which llama.cpp all calls `llama`."""

from __future__ import annotations

from typing import Any

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.families.decoder import (
    ATTENTION,
    FEED_FORWARD,
    NORMS,
    biases_of,
    decoder_tensors,
    feed_forward_size,
    head_size,
    rotary_base,
    shared_head_size,
    sizes,
    whole_head_is_rotated,
)
from mlxbuild.toolchain.sources.gguf.families.experts import expert_count, expert_size, experts_used, stacked_experts
from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.rope_factors import LLAMA_FACTORS, llama3_scaling
from mlxbuild.toolchain.sources.gguf.rope_scaling import LINEAR, YARN, rope_scaling

_ATTENTION_BIASES = biases_of(ATTENTION)
_FEED_FORWARD_BIASES = biases_of(FEED_FORWARD)


def _configuration(model: GgufModel) -> dict[str, Any]:
    size = head_size(model)
    whole_head_is_rotated(model, size)
    return {
        **sizes(model),
        "hidden_act": "silu",
        "intermediate_size": feed_forward_size(model),
        "head_dim": size,
        "attention_bias": _has_attention_biases(model),
        "mlp_bias": _has_feed_forward_biases(model),
        "rope_theta": rotary_base(model),
        "rope_scaling": _scaling(model, size),
    }


def _tensors(model: GgufModel) -> dict[str, Placement | None]:
    layer: dict[str, str | Placement] = {**NORMS, **ATTENTION, **FEED_FORWARD}
    if _has_attention_biases(model):
        layer |= _ATTENTION_BIASES
    if _has_feed_forward_biases(model):
        layer |= _FEED_FORWARD_BIASES
    tensors = decoder_tensors(model, _with_permuted_heads(model, layer))
    if LLAMA_FACTORS in model.shapes:
        tensors[LLAMA_FACTORS] = None
    return tensors


def _with_permuted_heads(model: GgufModel, layer: dict[str, str | Placement]) -> dict[str, str | Placement]:
    permuted: dict[str, str | Placement] = {}
    for name, target in layer.items():
        kind = name.partition(".")[0]
        heads = {"attn_q": model.heads, "attn_k": model.key_heads}.get(kind)
        permuted[name] = target if heads is None or not isinstance(target, str) else Placement(target, heads)
    return permuted


def _has_attention_biases(model: GgufModel) -> bool:
    return any(f"blk.0.{name}" in model.shapes for name in _ATTENTION_BIASES)


def _has_feed_forward_biases(model: GgufModel) -> bool:
    return any(f"blk.0.{name}" in model.shapes for name in _FEED_FORWARD_BIASES)


def _scaling(model: GgufModel, size: int) -> dict[str, Any] | None:
    scaling = rope_scaling(model.metadata, frozenset({LINEAR, YARN}))
    if LLAMA_FACTORS not in model.shapes:
        return scaling
    factors = model.factors.get(LLAMA_FACTORS)
    try:
        if factors is None:
            raise ValueError("its values were not read")
        of_factors = llama3_scaling(factors, rotary_base(model), size)
        if of_factors is not None and scaling is not None:
            raise ValueError("the metadata scales positions, too")
    except ValueError as error:
        raise UnsupportedGguf(
            f"the tensor `{LLAMA_FACTORS}` cannot be expressed in config.json: {error}",
            where=model.metadata.where,
            hint="use another model; positions that are scaled otherwise give wrong answers",
        ) from None
    return scaling if of_factors is None else of_factors


def _mixtral(model: GgufModel) -> dict[str, Any]:
    whole_head_is_rotated(model, shared_head_size(model))
    return {
        **sizes(model),
        "hidden_act": "silu",
        "intermediate_size": expert_size(model, "expert_feed_forward_length", "ffn_gate_exps.weight"),
        "num_local_experts": expert_count(model),
        "num_experts_per_tok": experts_used(model),
        "rope_theta": rotary_base(model),
        "rope_scaling": rope_scaling(model.metadata, frozenset()),
    }


def _mixtral_tensors(model: GgufModel) -> dict[str, Placement | None]:
    layer: dict[str, str | Placement] = {**NORMS, **ATTENTION, **stacked_experts("block_sparse_moe")}
    return decoder_tensors(model, _with_permuted_heads(model, layer))


LLAMA = Family("llama", "LlamaForCausalLM", _configuration, _tensors)
MIXTRAL = Family("mixtral", "MixtralForCausalLM", _mixtral, _mixtral_tensors)
