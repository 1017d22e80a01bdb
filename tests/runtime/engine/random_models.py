"""Tiny random models in memory, one for each kind of state: keys and values, windows, recurrence, and mixtures."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from mlxbuild.runtime.model.architecture import model_classes

VOCABULARY = 300
WINDOW = 24

_COMMON: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
OWN_CONFIG: Mapping[str, Mapping[str, Any]] = {
    "qwen3": {},
    "gemma3_text": {
        "num_hidden_layers": 3,
        "sliding_window": WINDOW,
        "sliding_window_pattern": 3,
        "query_pre_attn_scalar": 16,
    },
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "qwen3_next": {
        "num_hidden_layers": 4,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "partial_rotary_factor": 0.5,
    },
    "mamba2": {
        "num_heads": 4,
        "state_size": 16,
        "layer_norm_epsilon": 1e-5,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_limit": (0.0, float("inf")),
        "time_step_rank": "auto",
    },
    "lfm2": {
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 32,
        "block_multiple_of": 8,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1],
    },
    "falcon_h1": {
        "mamba_d_conv": 4,
        "mamba_d_head": 16,
        "mamba_d_ssm": 64,
        "mamba_d_state": 16,
        "mamba_n_heads": 4,
    },
    "llama4_text": {
        "intermediate_size_mlp": 64,
        "no_rope_layers": [1, 0],
        "use_qk_norm": True,
    },
}
KINDS = tuple(OWN_CONFIG)
PLAIN_CONFIG: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "gemma2": {"query_pre_attn_scalar": 16},
    "phi3": {},
    "olmo2": {},
    "starcoder2": {"norm_epsilon": 1e-5},
    "cohere": {"layer_norm_eps": 1e-5, "logit_scale": 0.5, "use_qk_norm": False},
    "gpt2": {"n_ctx": 512, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 512, "layer_norm_epsilon": 1e-5},
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
    },
}
"""More models that have only keys and values."""
_UNUSUAL: Mapping[str, Mapping[str, Any]] = {
    # Heads that are large enough to be quantized.
    "wide": {"model_type": "qwen3", **_COMMON, "head_dim": 64},
    "deep": {"model_type": "qwen3", **_COMMON, "num_hidden_layers": 4},
}


@functools.cache
def random_model(kind: str) -> Any:
    """A cached model in float32, with evaluated weights."""
    own = {**OWN_CONFIG, **PLAIN_CONFIG}
    config = _UNUSUAL[kind] if kind in _UNUSUAL else {"model_type": kind, **_COMMON, **own[kind]}
    model_class, arguments_class = model_classes(config)
    mx.random.seed(5)
    model = model_class(arguments_class.from_dict(config))
    # Newly initialized weights give almost the same answer to everything.
    model.update(tree_map(lambda array: array * 3 if array.ndim > 1 else array, model.parameters()))
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    mx.eval([value for module in model.modules() for value in module.values() if isinstance(value, mx.array)])
    return model
