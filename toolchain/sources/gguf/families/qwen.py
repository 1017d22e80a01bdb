"""Qwen 2 and 3, and their mixture-of-experts models."""

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
from mlxbuild.toolchain.sources.gguf.rope_scaling import LINEAR, YARN, rope_scaling

_BIASES = {name: target for name, target in biases_of(ATTENTION).items() if "output" not in name}
_HEAD_NORMS = {"attn_q_norm.weight": "self_attn.q_norm.weight", "attn_k_norm.weight": "self_attn.k_norm.weight"}
_SHARED_EXPERT: dict[str, str | Placement] = {
    "ffn_gate_inp_shexp.weight": Placement("mlp.shared_expert_gate.weight", leading_one=True),
    "ffn_gate_shexp.weight": "mlp.shared_expert.gate_proj.weight",
    "ffn_up_shexp.weight": "mlp.shared_expert.up_proj.weight",
    "ffn_down_shexp.weight": "mlp.shared_expert.down_proj.weight",
}
_DENSE_SCALINGS = frozenset({LINEAR, YARN})


def _common(model: GgufModel, scalings: frozenset[str]) -> dict[str, Any]:
    whole_head_is_rotated(model, head_size(model))
    return {
        **sizes(model),
        "hidden_act": "silu",
        "rope_theta": rotary_base(model),
        "rope_scaling": rope_scaling(model.metadata, scalings),
        "use_sliding_window": False,
    }


def _qwen2(model: GgufModel) -> dict[str, Any]:
    shared_head_size(model)
    return {**_common(model, _DENSE_SCALINGS), "intermediate_size": feed_forward_size(model)}


def _qwen3(model: GgufModel) -> dict[str, Any]:
    return {
        **_common(model, _DENSE_SCALINGS),
        "attention_bias": False,
        "head_dim": head_size(model),
        "intermediate_size": feed_forward_size(model),
    }


def _mixture(model: GgufModel) -> dict[str, Any]:
    size = expert_size(model, "expert_feed_forward_length", "ffn_gate_exps.weight")
    return {
        **_common(model, frozenset()),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        # The size of dense layers, of which there are none.
        "intermediate_size": model.metadata.count(model.metadata.own("feed_forward_length"), 0, least=0) or size,
        "moe_intermediate_size": size,
        "num_experts": expert_count(model),
        "num_experts_per_tok": experts_used(model),
    }


def _qwen2_moe(model: GgufModel) -> dict[str, Any]:
    shared_head_size(model)
    shared = expert_size(model, "expert_shared_feed_forward_length", "ffn_gate_shexp.weight")
    return {**_mixture(model), "norm_topk_prob": False, "shared_expert_intermediate_size": shared}


def _qwen3_moe(model: GgufModel) -> dict[str, Any]:
    # No key says that the weights of the chosen experts are normalized; llama.cpp's code for this architecture does it.
    return {**_mixture(model), "attention_bias": False, "head_dim": head_size(model), "norm_topk_prob": True}


def _qwen2_tensors(model: GgufModel) -> dict[str, Placement | None]:
    return decoder_tensors(model, {**NORMS, **ATTENTION, **_BIASES, **FEED_FORWARD})


def _qwen3_tensors(model: GgufModel) -> dict[str, Placement | None]:
    return decoder_tensors(model, {**NORMS, **ATTENTION, **_HEAD_NORMS, **FEED_FORWARD})


def _qwen2_moe_tensors(model: GgufModel) -> dict[str, Placement | None]:
    return decoder_tensors(model, {**NORMS, **ATTENTION, **_BIASES, **stacked_experts("mlp"), **_SHARED_EXPERT})


def _qwen3_moe_tensors(model: GgufModel) -> dict[str, Placement | None]:
    return decoder_tensors(model, {**NORMS, **ATTENTION, **_HEAD_NORMS, **stacked_experts("mlp")})


QWEN2 = Family("qwen2", "Qwen2ForCausalLM", _qwen2, _qwen2_tensors)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", _qwen3, _qwen3_tensors)
QWEN2_MOE = Family("qwen2_moe", "Qwen2MoeForCausalLM", _qwen2_moe, _qwen2_moe_tensors)
QWEN3_MOE = Family("qwen3_moe", "Qwen3MoeForCausalLM", _qwen3_moe, _qwen3_moe_tensors)
