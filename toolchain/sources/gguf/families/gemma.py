"""Gemma 2 and 3 (text). llama.cpp adds 1 to the weights of their norms, which mlx-lm's code adds itself."""

from __future__ import annotations

from typing import Any

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.families.decoder import (
    ATTENTION,
    FEED_FORWARD,
    OUTPUT,
    decoder_tensors,
    feed_forward_size,
    head_size,
    rotary_base,
    sizes,
    whole_head_is_rotated,
)
from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.rope_scaling import LINEAR, rope_scaling

_OFFSET = 1.0
_NORMS = {
    "attn_norm.weight": Placement("input_layernorm.weight", offset=_OFFSET),
    "post_attention_norm.weight": Placement("post_attention_layernorm.weight", offset=_OFFSET),
    "ffn_norm.weight": Placement("pre_feedforward_layernorm.weight", offset=_OFFSET),
    "post_ffw_norm.weight": Placement("post_feedforward_layernorm.weight", offset=_OFFSET),
}
_HEAD_NORMS = {
    "attn_q_norm.weight": Placement("self_attn.q_norm.weight", offset=_OFFSET),
    "attn_k_norm.weight": Placement("self_attn.k_norm.weight", offset=_OFFSET),
}
_LARGEST_GEMMA2_LAYERS, _LARGEST_GEMMA3_LAYERS = 46, 62
"""Layer counts of the 27B models, which scale attention differently from the others."""
_GEMMA3_PATTERN = 6
_GEMMA2_NUMBERS = frozenset({"attn_logit_softcapping", "final_logit_softcapping"})
_SLIDING, _FULL = "sliding_attention", "full_attention"


def _common(model: GgufModel, largest_layers: int) -> dict[str, Any]:
    size = head_size(model)
    whole_head_is_rotated(model, size)
    # No key holds it; llama.cpp decides by the number of layers, too (`f_attention_scale`).
    scalar = model.width // model.heads if model.layers == largest_layers else size
    return {
        **sizes(model),
        "hidden_activation": "gelu_pytorch_tanh",
        "intermediate_size": feed_forward_size(model),
        "head_dim": size,
        "query_pre_attn_scalar": scalar,
        "rope_theta": rotary_base(model),
    }


def _gemma2(model: GgufModel) -> dict[str, Any]:
    metadata = model.metadata
    rope_scaling(metadata, frozenset())
    return {
        **_common(model, _LARGEST_GEMMA2_LAYERS),
        "attn_logit_softcapping": metadata.number(metadata.own("attn_logit_softcapping"), 50.0),
        "final_logit_softcapping": metadata.number(metadata.own("final_logit_softcapping"), 30.0),
        "sliding_window": metadata.count(metadata.own("attention.sliding_window"), 4096),
    }


def _gemma3(model: GgufModel) -> dict[str, Any]:
    metadata = model.metadata
    window = metadata.count(metadata.own("attention.sliding_window"), 0, least=0)
    pattern = _pattern(model) if window else 1
    layers = range(1, model.layers + 1)
    return {
        **_common(model, _LARGEST_GEMMA3_LAYERS),
        "layer_types": [_FULL if number % pattern == 0 else _SLIDING for number in layers],
        "rope_local_base_freq": metadata.number(metadata.own("rope.freq_base_swa"), 10000.0),
        "rope_scaling": rope_scaling(metadata, frozenset({LINEAR})),
        "sliding_window": window or metadata.count(metadata.own("context_length")),
        "sliding_window_pattern": pattern,
    }


def _pattern(model: GgufModel) -> int:
    """The interval between layers with full attention; all others use sliding windows."""
    metadata = model.metadata
    key = metadata.own("attention.sliding_window_pattern")
    value = metadata.values.get(key, _GEMMA3_PATTERN)
    if not isinstance(value, tuple):
        return metadata.count(key, _GEMMA3_PATTERN)
    pattern = value.index(False) + 1 if False in value else len(value) + 1
    if any(type(item) is not bool or item != ((number + 1) % pattern != 0) for number, item in enumerate(value)):
        metadata.fail(f"`{key}` does not have full attention at equal intervals of layers")
    return pattern


def _gemma2_tensors(model: GgufModel) -> dict[str, Placement | None]:
    tensors = decoder_tensors(model, {**_NORMS, **ATTENTION, **FEED_FORWARD}, norm_offset=_OFFSET)
    tensors.pop(OUTPUT, None)  # the output projection is always tied to the embeddings
    return tensors


def _gemma3_tensors(model: GgufModel) -> dict[str, Placement | None]:
    return decoder_tensors(model, {**_NORMS, **_HEAD_NORMS, **ATTENTION, **FEED_FORWARD}, norm_offset=_OFFSET)


GEMMA2 = Family("gemma2", "Gemma2ForCausalLM", _gemma2, _gemma2_tensors, _GEMMA2_NUMBERS)
GEMMA3 = Family("gemma3_text", "Gemma3ForCausalLM", _gemma3, _gemma3_tensors)
