"""A tiny configuration of every architecture of the installed mlx-lm, and random weights for it.

What an architecture shares with others is in one table, by the names of its arguments; what is its own is in another.
Windows, chunks and numbers of experts looked at are smaller than the prompts of the tests.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from mlxbuild.runtime.mlx_lm.package import package_folder, submodule
from mlxbuild.runtime.model.architecture import model_classes

VOCABULARY = 256
WINDOW = 12
_LAYERS = 4
_YARN = {
    "type": "yarn",
    "rope_type": "yarn",
    "factor": 4.0,
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 1024,
    "max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_KDA = {"kda_layers": [1, 3], "full_attn_layers": [2, 4], "num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4}

_COMMON: Mapping[str, Any] = {
    # Sizes.
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "num_vocab"), VOCABULARY),
    **dict.fromkeys(("hidden_size", "hidden_dim", "d_model", "n_embd", "model_dim", "dim_model_base"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_transformer_layers"), _LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "swa_num_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads", "swa_num_key_value_heads"), 2),
    **dict.fromkeys(("num_attention_groups",), 2),
    **dict.fromkeys(("head_dim", "swa_head_dim", "swa_v_head_dim", "v_head_dim", "hidden_size_per_head"), 16),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_hidden_size"), 128),
    **dict.fromkeys(("intermediate_size_mlp", "ff_intermediate_size"), 128),
    **dict.fromkeys(("max_position_embeddings", "model_max_length"), 4096),
    **dict.fromkeys(("n_positions", "n_ctx", "block_size"), 512),
    # Numbers.
    **dict.fromkeys(("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"), 1e-5),
    **dict.fromkeys(("layernorm_epsilon", "post_norm_eps"), 1e-5),
    **dict.fromkeys(("rope_theta", "swa_rope_theta", "rotary_emb_base", "rope_local_base_freq"), 10000.0),
    **dict.fromkeys(("logits_scaling", "embedding_multiplier", "residual_multiplier", "scale_emb", "scale_depth"), 1.0),
    **dict.fromkeys(("output_multiplier", "routed_scaling_factor"), 1.0),
    "final_logit_softcapping": 30.0,
    "attention_multiplier": 0.25,
    **dict.fromkeys(("partial_rotary_factor", "rotary_pct"), 0.5),
    "rotary_dim": 8,
    "rope_scaling": None,
    # Switches.
    **dict.fromkeys(("attention_bias", "mlp_bias", "qkv_bias", "use_bias", "use_qkv_bias", "conv_bias"), False),
    **dict.fromkeys(("tie_word_embeddings", "post_norm", "rope_traditional", "add_full_attention_sink_bias"), False),
    **dict.fromkeys(("use_conv_bias", "use_qk_norm", "qk_norm", "norm_topk_prob"), True),
    **dict.fromkeys(("add_swa_attention_sink_bias", "mla_scale_q_lora", "mla_scale_kv_lora", "use_expert_bias"), True),
    # Experts.
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k"), 2),
    **dict.fromkeys(("num_shared_experts", "n_shared_experts", "num_shared_expert", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "share_expert_dim"), 64),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "expert_ffn_hidden_size", "shared_intermediate_size"), 64),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "first_k_dense_replace", "decoder_sparse_step"), 1),
    **dict.fromkeys(("moe_layer_freq", "num_dense_layers"), 1),
    "mlp_only_layers": [],
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    # Latent attention, and attention to what an index finds.
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 32),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 16),
    "index_head_dim": 32,
    "index_n_heads": 2,
    "index_topk": WINDOW,
    # Windows.
    **dict.fromkeys(("sliding_window", "sliding_window_size", "attention_window_size", "window_size"), WINDOW),
    **dict.fromkeys(("attention_chunk_size", "loop_window_size"), WINDOW),
    "sliding_window_pattern": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "hybrid_layer_pattern": [0, 1, 0, 1],
    # Recurrence.
    "layer_group_size": 2,
    "group_norm_size": 2,
    "full_attention_interval": 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_allow_neg_eigval": True,
    **dict.fromkeys(("linear_conv_kernel_dim", "conv_kernel", "mamba_d_conv", "conv1d_width"), 4),
    "conv_L_cache": 3,
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size"), 16),
    **dict.fromkeys(("n_groups", "mamba_n_groups"), 1),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "time_step_rank"), 4),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim"), 32),
    "mamba_d_ssm": 128,
    "mamba_expand": 2,
    "mamba_proj_bias": False,
    "mamba_conv_bias": True,
    "time_step_limit": [0.0, 100.0],
}

_OWN: Mapping[str, Mapping[str, Any]] = {
    "afm7": {"num_layers": 5, "num_kv_reuse_layers": 2},
    "baichuan_m1": {"sliding_window_layers": [0, 2], "conv_window": 2},
    "bailing_moe_linear": {"num_attention_heads": 4},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 128, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
    },
    "deepseek_v2": {"rope_scaling": _YARN},
    "deepseek_v41": {
        "hc_sinkhorn_iters": 3,
        "o_groups": 2,
        "o_lora_rank": 32,
        "compress_ratios": [0, 1, 4, 4],
        "kv_source_layer_ids": [1, 2],
        "index_source_layer_ids": [1, 2],
    },
    "exaone4": {"sliding_window_pattern": "LG"},
    "exaone_moe": {"is_moe_layer": [False, True] * 2},
    "gemma3n": {
        "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.5, 0.0] * 2,
        "hidden_size_per_layer_input": 32,
        "altup_num_inputs": 4,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 8,
    },
    "gemma4": {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 32, "global_head_dim": 32},
    "gemma4_text": {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 32, "global_head_dim": 32},
    "glm_moe_dsa": {"rope_parameters": {"rope_theta": 10000.0}},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "hunyuan": {
        "use_mixed_mlp_moe": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    },
    "jamba": {
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_dt_rank": 4,
    },
    "kimi_k3": {"linear_attn_config": _KDA},
    "kimi_linear": {"linear_attn_config": _KDA},
    "lfm2": {
        "block_dim": 64,
        "block_multiple_of": 64,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1, 3],
        "layer_types": None,
    },
    "lfm2_moe": {"full_attn_idxs": [1, 3], "layer_types": None},
    "llama4": {"interleave_moe_layer_step": 2, "num_experts_per_tok": 1},
    "llama4_text": {"no_rope_layers": [1, 1, 1, 0]},
    "longcat_flash": {"attention_method": "MLA", "zero_expert_type": "identity", "zero_expert_num": 2},
    "longcat_flash_ngram": {"zero_expert_num": 2, "ngram_vocab_size_ratio": 3},
    "mellum": {
        "rope_parameters": {
            name: {"rope_type": "default", "rope_theta": 10000.0} for name in ("sliding_attention", "full_attention")
        }
    },
    "mimo_v2_flash": {"moe_layer_freq": [0, 1, 1, 1]},
    "minicpm3": {"rope_scaling": {"short_factor": [1.0] * 8, "long_factor": [1.0] * 8}},
    "minimax_m3_vl": {
        "moe_layer_freq": [0, 1, 1, 1],
        "dense_intermediate_size": 128,
        "layer_types": None,
        "index_block_size": 4,
        "index_topk_blocks": 3,
    },
    "ministral3": {"rope_parameters": _YARN},
    "mistral4": {"rope_parameters": _YARN},
    "muse_spark": {
        "rope_parameters": {"rope_theta": 10000.0},
        "layer_rope_theta": [10000.0, 0] * 2,
        "moe_hidden_size": 64,
        "num_shared_experts": 0,
    },
    "nemotron": {"hidden_act": "relu2"},
    "nemotron-nas": {
        "block_configs": [
            {
                "attention": {"n_heads_in_group": 2, "no_op": False, "replace_with_linear": False},
                "ffn": {"ffn_mult": 1.5, "no_op": False, "replace_with_linear": False},
            }
        ]
        * _LAYERS
    },
    "nemotron_h": {"hybrid_override_pattern": ["M", "*", "-", "M"], "layer_types": None},
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "openelm": {
        "num_query_heads": [4] * _LAYERS,
        "num_kv_heads": [2] * _LAYERS,
        "ffn_multipliers": [1.0] * _LAYERS,
        "ffn_dim_divisor": 64,
    },
    "phi3small": {
        "vocab_size": 100352,  # it writes to logits of tokens of its own, in whatever memory they lie
        "dense_attention_every_n_layers": 2,
        "gegelu_limit": 20.0,
    },
    "phixtral": {"rotary_dim": 8},
    "phimoe": {
        "rope_scaling": {
            "type": "longrope",
            "original_max_position_embeddings": 4096,
            "short_factor": [1.0] * 8,
            "long_factor": [1.0] * 8,
            "short_mscale": 1.0,
            "long_mscale": 1.0,
        }
    },
    "plamo": {"n_shared_head": 2},
    "qwen": {"kv_channels": 16, "intermediate_size": 256},
    "recurrent_gemma": {"logits_soft_cap": 30.0, "block_types": ["recurrent", "attention"]},
    "rwkv7": {
        "head_dim": 32,
        "a_low_rank_dim": 32,
        "v_low_rank_dim": 32,
        "gate_low_rank_dim": 32,
        "decay_low_rank_dim": 32,
    },
    "spark2_5": {
        "rope_parameters": {name: {"rope_theta": 10000.0} for name in ("sliding_attention", "full_attention")}
    },
}
_TEXTS: Mapping[str, str] = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "kimi_k25": "deepseek_v3",
    "kimi_vl": "deepseek_v3",
    "lfm2-vl": "lfm2",
    "mistral3": "ministral3",
    "pixtral": "llama",
    "qwen2_vl": "qwen2",
    "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5_moe",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
}
"""Of those that hold a text model in `text_config`: which one, if it has a name of its own."""

NOT_HERE: Mapping[str, str] = {
    "bitnet": "multiplies by a kernel that only Metal has",
    "muse_spark": "normalizes by a kernel that only Metal has",
    "olmo": "needs the library ai2-olmo",
    "prism_hadamard_qwen35": "takes no other weights than its own of 2 bits, in shapes of whole Hadamard blocks",
}
"""Those that mlx-lm itself does not run here, and why."""


@functools.cache
def names() -> tuple[str, ...]:
    """Every architecture, by its module."""
    found = []
    for file in sorted((package_folder() / "models").glob("*.py")):
        text = file.read_text()
        if "class Model(" in text or "import Model" in text or " Model," in text:
            found.append(file.stem)
    return tuple(found)


def tiny_config(name: str) -> dict[str, Any]:
    """`config.json` of a tiny model."""
    module = submodule(f"models.{name}")
    fields = {field.name for field in dataclasses.fields(module.ModelArgs)}
    inner = _TEXTS.get(name, name)
    values = {**_COMMON, **_OWN.get(inner, {}), **_OWN.get(name, {})}
    if "text_config" in fields and "hidden_size" not in fields:
        text = {**values, "model_type": inner}
        return {"model_type": name, "vocab_size": VOCABULARY, "text_config": text}
    return {"model_type": name, **{key: value for key, value in values.items() if key in fields}}


def random_model(config: Mapping[str, Any], *, seed: int = 5) -> Any:
    """A model of a configuration, in float32 and evaluated, whose weights make a difference, all of them."""
    model_class, arguments_class = model_classes(config)
    mx.random.seed(seed)
    model = model_class(arguments_class.from_dict(config))
    model.update(tree_map(_lively, model.parameters()))
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    mx.eval([value for module in model.modules() for value in module.values() if isinstance(value, mx.array)])
    return model


def write_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """A random model into a folder: `config.json` and `model.safetensors`, in place of what is there."""
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    weights: Any = dict(tree_flatten(random_model(config).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))


def _lively(array: mx.array) -> mx.array:
    """Freshly made weights answer almost alike to everything, and some of them are zeros or ones."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    if (array == array.flatten()[0]).all().item():
        return array + 0.3 * mx.random.normal(array.shape)
    return array * 3 if array.ndim > 1 else array
