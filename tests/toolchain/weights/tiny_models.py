"""Tiny random models of several architectures, written as their publishers write checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlxbuild.runtime.model.architecture import model_classes

Weights = dict[str, mx.array]

_COMMON = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "vocab_size": 96,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}

CONFIGURATIONS: Mapping[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_COMMON, "tie_word_embeddings": False},
    "qwen3": {"model_type": "qwen3", **_COMMON, "tie_word_embeddings": True},
    "qwen3_uneven": {"model_type": "qwen3", **_COMMON, "intermediate_size": 160, "tie_word_embeddings": False},
    "gemma3": {"model_type": "gemma3_text", **_COMMON, "sliding_window": 64, "sliding_window_pattern": 2},
    "phi3": {"model_type": "phi3", **_COMMON, "num_key_value_heads": 4},
    "qwen3_moe": {
        "model_type": "qwen3_moe", **_COMMON, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
        "mlp_only_layers": [0], "moe_intermediate_size": 64, "norm_topk_prob": True, "tie_word_embeddings": False,
    },
    "mixtral": {"model_type": "mixtral", **_COMMON, "num_local_experts": 3, "tie_word_embeddings": False},
    "deepseek_v3": {
        "model_type": "deepseek_v3", **_COMMON, "num_key_value_heads": 4, "moe_intermediate_size": 64,
        "n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "kv_lora_rank": 64,
        "q_lora_rank": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "qk_nope_head_dim": 64, "n_group": 2,
        "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
    },
    "lfm2": {
        "model_type": "lfm2", **_COMMON, "norm_eps": 1e-5, "conv_bias": False, "conv_L_cache": 3, "block_dim": 128,
        "block_multiple_of": 64, "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention", "conv"],
    },
    "mamba": {
        "model_type": "mamba", "vocab_size": 96, "hidden_size": 128, "intermediate_size": 256, "state_size": 16,
        "num_hidden_layers": 2, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 8,
        "torch_dtype": "float32",
    },
}  # fmt: skip


def write_model(folder: Path, family: str, *, shards: int = 1, dtype: mx.Dtype = mx.bfloat16, seed: int = 0) -> Path:
    """Write a random model; its tensors are dealt out to the shards in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGURATIONS[family]
    (folder / "config.json").write_text(json.dumps(config))
    weights = published(family, config, random_parameters(config, dtype, seed))
    for number in range(shards):
        names = sorted(weights)[number::shards]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        mx.save_safetensors(str(folder / file), {name: weights[name] for name in names}, metadata={"format": "pt"})
    return folder


def random_parameters(config: Mapping[str, Any], dtype: mx.Dtype, seed: int) -> Weights:
    """Every parameter of mlx-lm's model, normally distributed."""
    model_class, arguments_class = model_classes(config)
    shapes = {
        name: value.shape for name, value in tree_flatten(model_class(arguments_class.from_dict(config)).parameters())
    }
    keys = mx.random.split(mx.random.key(seed), len(shapes))
    weights = {
        name: (mx.random.normal(shape, key=key) * 0.1).astype(dtype)
        for (name, shape), key in zip(sorted(shapes.items()), keys, strict=True)
    }
    mx.eval(weights)
    return weights


def published(family: str, config: Mapping[str, Any], weights: Weights) -> Weights:
    """The same parameters under the names and in the shapes that the family's publishers use."""
    arrange: Callable[[Weights], Weights] = _ARRANGEMENTS.get(family, dict)
    published_weights = arrange(weights)
    # Publishers leave buffers in their checkpoints; mlx-lm drops them.
    if family == "llama":
        for layer in range(config["num_hidden_layers"]):
            published_weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = mx.arange(16, dtype=mx.float32)
    return published_weights


def _with_single_experts(weights: Weights, stacked: str, single: str, names: Mapping[str, str]) -> Weights:
    arranged = {}
    for name, array in weights.items():
        if stacked not in name:
            arranged[name] = array
            continue
        prefix, _, rest = name.partition(stacked)
        projection, _, leaf = rest.rpartition(".")
        for expert in range(array.shape[0]):
            arranged[f"{prefix}{single}{expert}.{names.get(projection, projection)}.{leaf}"] = array[expert]
    return arranged


def _deepseek(weights: Weights) -> Weights:
    weights = _with_single_experts(weights, "mlp.switch_mlp.", "mlp.experts.", {})
    for name in [name for name in weights if ".embed_q." in name]:
        prefix = name.partition(".embed_q.")[0]
        heads, rank, nope = weights.pop(name).shape
        value = weights.pop(f"{prefix}.unembed_out.weight").shape[1]
        key = mx.random.key(len(weights))
        joint = mx.random.normal((heads * (nope + value), rank), key=key) * 0.1
        weights[f"{prefix}.kv_b_proj.weight"] = joint.astype(mx.bfloat16)
    # A next-token-prediction layer, which mlx-lm drops.
    weights["model.layers.61.eh_proj.weight"] = mx.ones((8, 8), dtype=mx.bfloat16)
    return weights


def _convolutions_first(weights: Weights) -> Weights:
    return {
        name: mx.contiguous(array.swapaxes(1, 2)) if "conv" in name and array.ndim == 3 else array
        for name, array in weights.items()
    }


_ARRANGEMENTS: Mapping[str, Callable[[Weights], Weights]] = {
    "qwen3_moe": lambda weights: _with_single_experts(weights, "mlp.switch_mlp.", "mlp.experts.", {}),
    "mixtral": lambda weights: _with_single_experts(
        weights,
        "block_sparse_moe.switch_mlp.",
        "block_sparse_moe.experts.",
        {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"},
    ),
    "deepseek_v3": _deepseek,
    "lfm2": _convolutions_first,
    "mamba": _convolutions_first,
}
