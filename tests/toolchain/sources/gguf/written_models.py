"""Writes tiny random models as GGUF files, the way llama.cpp's converter does. What is read back is tested elsewhere.

Names come from the `gguf` package's own tables; what the converter does to tensors (`conversion/*.py` of llama.cpp) is
done here in numpy: rows of llama's queries and keys are interleaved, 1 is added to Gemma's norms, experts are stacked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlxbuild.runtime.model.architecture import model_classes

_COMMON: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 20000.0,
    "vocab_size": 40,
    "tie_word_embeddings": False,
}
_QWEN_EXPERTS: Mapping[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
_LONG_ROPE: Mapping[str, Any] = {
    "type": "longrope",
    "rope_type": "longrope",
    "long_factor": [1.05, 1.1, 2.25, 4.5, 8.75, 16.0],
    "short_factor": [1.0, 1.0, 1.05, 1.1, 1.15, 1.2],
}
LLAMA3: Mapping[str, Any] = {
    "type": "llama3",
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {**_COMMON, "model_type": "llama"}),
    "llama with biases": (
        "llama",
        {**_COMMON, "model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "llama 3.2": (
        "llama",
        {**_COMMON, "model_type": "llama", "head_dim": 64, "rope_theta": 500000.0, "rope_scaling": dict(LLAMA3)},
    ),
    "llama with linear scaling": (
        "llama",
        {**_COMMON, "model_type": "llama", "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.5}},
    ),
    "mistral with larger heads": ("llama", {**_COMMON, "model_type": "llama", "head_dim": 32}),
    "mixtral": (
        "llama",
        {**_COMMON, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen2": ("qwen2", {**_COMMON, "model_type": "qwen2"}),
    "qwen2 with yarn": (
        "qwen2",
        {
            **_COMMON,
            "model_type": "qwen2",
            "rope_scaling": {
                "type": "yarn",
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "qwen2moe": (
        "qwen2moe",
        {
            **_COMMON,
            **_QWEN_EXPERTS,
            "model_type": "qwen2_moe",
            "shared_expert_intermediate_size": 48,
            "norm_topk_prob": False,
        },
    ),
    "qwen3": ("qwen3", {**_COMMON, "model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True}),
    "qwen3moe": (
        "qwen3moe",
        {**_COMMON, **_QWEN_EXPERTS, "model_type": "qwen3_moe", "head_dim": 32, "norm_topk_prob": True},
    ),
    "gemma2": (
        "gemma2",
        {
            **_COMMON,
            "model_type": "gemma2",
            "head_dim": 32,
            "rope_theta": 10000.0,
            "attn_logit_softcapping": 40.0,
            "final_logit_softcapping": 20.0,
            "query_pre_attn_scalar": 32,
            "sliding_window": 128,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": (
        "gemma3",
        {
            **_COMMON,
            "model_type": "gemma3_text",
            "num_hidden_layers": 6,
            "head_dim": 32,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 8.0},
            "query_pre_attn_scalar": 32,
            "sliding_window": 16,
            "sliding_window_pattern": 6,
            "tie_word_embeddings": True,
        },
    ),
    "phi3": ("phi3", {**_COMMON, "model_type": "phi3", "original_max_position_embeddings": 256}),
    "phi4 mini": (
        "phi3",
        {
            **_COMMON,
            "model_type": "phi3",
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 64,
            "rope_scaling": dict(_LONG_ROPE),
            "tie_word_embeddings": True,
        },
    ),
}
"""Name of the case to the architecture as GGUF names it and the model's config.json."""


def random_model(config: Mapping[str, Any]) -> Any:
    """mlx-lm's model with random weights; those of norms are such that adding 1 rounds nothing."""
    model_class, arguments_class = model_classes(config)
    model = model_class(arguments_class.from_dict(dict(config)))
    if config["model_type"] == "gemma3_text":
        model.sanitize({})  # takes the head away, as loading does
    random = np.random.default_rng(len(config))
    weights = []
    for name, value in tree_flatten(model.parameters()):
        numbers = random.standard_normal(value.shape).astype(np.float32) * 0.2
        weights.append((name, mx.array(np.round(numbers * 1024) / 1024 + (0.5 if "norm" in name else 0.0))))
    model.load_weights(weights)
    return model


def write_gguf(
    path: Path,
    architecture: str,
    config: Mapping[str, Any],
    model: Any,
    kind: str | None = None,
    vectors: str = "F32",
) -> Path:
    """The model as a GGUF file with float32 tensors, or matrices and vectors of a type, and a vocabulary of no
    meaning."""
    writer = gguf.GGUFWriter(path, architecture)
    _write_parameters(writer, architecture, config)
    count = config["vocab_size"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(chr(0x61 + number) for number in range(count - 3))])
    writer.add_token_scores([-float(number) for number in range(count)])
    writer.add_token_types([2, 3, 3, *[1] * (count - 3)])
    for name, numbers in _tensors(architecture, config, dict(tree_flatten(model.parameters()))):
        plain = np.ascontiguousarray(numbers)
        if plain.ndim == 1:
            own = gguf.GGMLQuantizationType[vectors]
        elif kind is None or plain.shape[-1] % 32 or "ffn_gate_inp" in name:
            own = gguf.GGMLQuantizationType.F32
        else:
            own = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(plain, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_parameters(writer: gguf.GGUFWriter, architecture: str, config: Mapping[str, Any]) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim", config["hidden_size"] // heads)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if architecture != "gemma2":
        writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(size)
        writer.add_value_length(size)
    if architecture in ("llama", "phi3"):
        writer.add_rope_dimension_count(int(size * config.get("partial_rotary_factor", 1.0)))
    _write_scaling(writer, config)
    for key, add in (
        ("num_local_experts", writer.add_expert_count),
        ("num_experts", writer.add_expert_count),
        ("num_experts_per_tok", writer.add_expert_used_count),
        ("moe_intermediate_size", writer.add_expert_feed_forward_length),
        ("shared_expert_intermediate_size", writer.add_expert_shared_feed_forward_length),
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("sliding_window", writer.add_sliding_window),
        ("original_max_position_embeddings", writer.add_rope_scaling_orig_ctx_len),
    ):
        if key in config:
            add(config[key])


def _write_scaling(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    elif kind == "longrope":
        original = config["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / np.log(original))))


def _tensors(
    architecture: str, config: Mapping[str, Any], parameters: Mapping[str, mx.array]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    kind = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    for name, value in parameters.items():
        numbers = np.array(value)
        if architecture == "llama" and re.search(r"\.[qk]_proj\.", name):
            heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
            numbers = interleaved(numbers, heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            numbers = numbers + np.float32(1)
        if "shared_expert_gate" in name:
            numbers = numbers.reshape(-1)
        known = names.get_name(_converters_name(name), try_suffixes=(".weight", ".bias"))
        assert known is not None, name
        yield known, numbers
    yield from _factors(config)


def interleaved(numbers: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """`LlamaModel.permute` of the converter."""
    half = numbers.shape[0] // heads // 2
    return numbers.reshape(heads, 2, half, *numbers.shape[1:]).swapaxes(1, 2).reshape(numbers.shape)


def _converters_name(name: str) -> str:
    """The checkpoint's name for a tensor; the converter gives such to the experts that it has stacked."""
    if "block_sparse_moe.switch_mlp" in name:
        layer = name.split(".")[2]
        letter = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}[name.split(".")[-2]]
        return f"layers.{layer}.feed_forward.experts.{letter}.weight"
    return name.replace("switch_mlp", "experts")


def _factors(config: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        yield "rope_freqs.weight", llama3_factors(scaling, config["rope_theta"], config["head_dim"])
    if scaling.get("rope_type") == "longrope":
        yield "rope_factors_long.weight", np.array(scaling["long_factor"], np.float32)
        yield "rope_factors_short.weight", np.array(scaling["short_factor"], np.float32)


def llama3_factors(scaling: Mapping[str, Any], base: float, size: int) -> np.ndarray[Any, Any]:
    """`generate_extra_tensors` of the converter's llama: one factor at a time, in float32."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    factors = []
    for frequency in 1.0 / (np.float32(base) ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))):
        wavelength = np.float32(2 * np.pi) / frequency
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)
