"""A GGUF of a llama as a folder in the Hugging Face layout, by the `gguf` package: an oracle for our own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_OTHERS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_CONTROL = 3  # token type


def write_folder(file: Path, folder: Path) -> None:
    """Write config.json, tokenizer and weights, these in float16, which may round their last bit."""
    reader = gguf.GGUFReader(file)
    known = {name: field.contents() for name, field in reader.fields.items()}
    folder.mkdir(parents=True)
    documents = {
        "config.json": _config(known),
        "generation_config.json": _special_ids(known),
        "tokenizer_config.json": _tokenizer_config(known),
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    _tokenizer(known).save(str(folder / "tokenizer.json"))
    weights = {}
    for tensor in reader.tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))
        for part, heads in (("attn_q", "llama.attention.head_count"), ("attn_k", "llama.attention.head_count_kv")):
            if f".{part}." in tensor.name:
                array = _rotated_halves(array, known[heads])
        weights[_name(tensor.name)] = mx.array(array.astype(np.float16))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})


def _name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{parts[3]}"
    return f"{_OTHERS[parts[0]]}.{parts[1]}"


def _rotated_halves(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp rotates neighbours, Hugging Face halves: rows of queries and keys stand in another order."""
    rows = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(array.shape))


def _config(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": known["llama.embedding_length"],
        "num_hidden_layers": known["llama.block_count"],
        "intermediate_size": known["llama.feed_forward_length"],
        "num_attention_heads": known["llama.attention.head_count"],
        "num_key_value_heads": known["llama.attention.head_count_kv"],
        "rms_norm_eps": float(f"{known['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": known["llama.rope.freq_base"],
        "max_position_embeddings": known["llama.context_length"],
        "vocab_size": len(known["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        **_special_ids(known),
    }


def _special_ids(known: dict[str, Any]) -> dict[str, int]:
    names = (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding"))
    return {key: known[f"tokenizer.ggml.{name}_token_id"] for key, name in names}


def _tokenizer_config(known: dict[str, Any]) -> dict[str, Any]:
    tokens = known["tokenizer.ggml.tokens"]
    special = {key.removesuffix("_id"): tokens[number] for key, number in _special_ids(known).items()}
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": known["llama.context_length"],
        "chat_template": known["tokenizer.chat_template"],
        **special,
    }


def _tokenizer(known: dict[str, Any]) -> tokenizers.Tokenizer:
    tokens, types = known["tokenizer.ggml.tokens"], known["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in known["tokenizer.ggml.merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    assert known["tokenizer.ggml.pre"] == "smollm"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer
