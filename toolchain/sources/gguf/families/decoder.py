"""What all families share: the dimensions of a decoder in config.json, and the names of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.families.family import GgufModel
from mlxbuild.toolchain.sources.gguf.vocabulary import TOKENS

EMBEDDINGS: Final = "token_embd.weight"
OUTPUT: Final = "output.weight"

ATTENTION: Final = {
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
}
FEED_FORWARD: Final = {
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
NORMS: Final = {"attn_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight"}


def biases_of(weights: Mapping[str, str]) -> dict[str, str]:
    """The bias tensors that belong to some weights, by their names in the file and the model."""
    return {name.replace("weight", "bias"): target.replace("weight", "bias") for name, target in weights.items()}


def sizes(model: GgufModel) -> dict[str, Any]:
    """The part of config.json that every decoder has.

    Raises:
        GgufMetadata: a size is missing, or they contradict each other.
    """
    metadata = model.metadata
    if model.heads % model.key_heads:
        metadata.fail(f"{model.heads} attention heads cannot share {model.key_heads} heads of keys and values")
    return {
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.key_heads,
        "max_position_embeddings": metadata.count(metadata.own("context_length")),
        "rms_norm_eps": metadata.number(metadata.own("attention.layer_norm_rms_epsilon")),
        "vocab_size": vocabulary_size(model),
        "tie_word_embeddings": model.is_tied,
    }


def vocabulary_size(model: GgufModel) -> int:
    """Number of rows of the embeddings."""
    shape = model.shapes.get(EMBEDDINGS, ())
    if len(shape) != 2:
        model.metadata.fail(f"the file has no tensor `{EMBEDDINGS}` of two dimensions")
    tokens = model.metadata.values.get(TOKENS, ())
    if isinstance(tokens, tuple) and len(tokens) > shape[0]:
        model.metadata.fail(f"the vocabulary has {len(tokens)} tokens, but `{EMBEDDINGS}` {shape[0]} rows")
    return shape[0]


def feed_forward_size(model: GgufModel) -> int:
    """Width of the feed-forward layers."""
    return model.metadata.count(model.metadata.own("feed_forward_length"))


def rotary_base(model: GgufModel, default: float = 10000.0) -> float:
    """The base of the rotary frequencies; if the file has none, `default` is the one that llama.cpp uses."""
    key = model.metadata.own("rope.freq_base")
    base = model.metadata.number(key, default)
    if base <= 0.0:
        model.metadata.fail(f"`{key}` is {base}, where more than 0 is expected")
    return base


def head_size(model: GgufModel, default: int | None = None) -> int:
    """The size of an attention head.

    Args:
        model: The model's header.
        default: Size if the file has none; None divides the hidden size by the number of heads.

    Raises:
        GgufMetadata: keys and values have different head sizes, or the head size is odd.
    """
    metadata = model.metadata
    if default is None:
        default = model.width // model.heads
    size = metadata.count(metadata.own("attention.key_length"), default)
    values = metadata.count(metadata.own("attention.value_length"), size)
    if values != size:
        metadata.fail(f"heads of keys hold {size} numbers and heads of values {values}")
    if size % 2:
        metadata.fail(f"a head of {size} numbers cannot be rotated in halves")
    return size


def shared_head_size(model: GgufModel) -> int:
    """The size of an attention head where the family's code assumes the hidden size divided by the number of heads.

    Raises:
        GgufMetadata: the file has another head size.
    """
    size = head_size(model)
    if size * model.heads != model.width:
        model.metadata.fail(f"{model.heads} heads of {size} numbers are not the {model.width} of a hidden state")
    return size


def whole_head_is_rotated(model: GgufModel, size: int) -> None:
    """Check that the rotary embedding covers all `size` dimensions of a head.

    Raises:
        GgufMetadata: it covers only some of them, which the family's code does not support.
    """
    key = model.metadata.own("rope.dimension_count")
    count = model.metadata.count(key, size)
    if count != size:
        model.metadata.fail(
            f"`{key}` is {count}, but a head has {size} numbers, and this architecture rotates all of them",
            hint="use another file of this model, or its checkpoint in safetensors",
        )


def decoder_tensors(
    model: GgufModel, layer: Mapping[str, str | Placement], norm_offset: float = 0.0
) -> dict[str, Placement | None]:
    """The placements of a decoder's tensors, by their names in the file.

    Args:
        model: The model's header.
        layer: Tensor name within a layer in the file, to the name in the model or to a placement with such a name.
        norm_offset: The number that llama.cpp added to the weights of the last norm.
    """
    tensors: dict[str, Placement | None] = {
        EMBEDDINGS: Placement("model.embed_tokens.weight"),
        "output_norm.weight": Placement("model.norm.weight", offset=norm_offset),
    }
    if not model.is_tied:
        tensors[OUTPUT] = Placement("lm_head.weight")
    for number in range(model.layers):
        for name, target in layer.items():
            place = Placement(target) if isinstance(target, str) else target
            tensors[f"blk.{number}.{name}"] = replace(place, name=f"model.layers.{number}.{place.name}")
    return tensors
