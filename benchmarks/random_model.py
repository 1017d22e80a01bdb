"""Makes models of random bfloat16 weights in the Hugging Face layout.

A process of its own does it, so that the process that measures stays small: to the kernel, a child begins with the
memory of its parent.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SHARDS = 4
_SETTLED_SECONDS = 2.5
"""Files that changed less than two seconds ago are not trusted by their times; models of people are older."""
_CONFIG: Mapping[str, Any] = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 50_000,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "eos_token_id": 256,
}
_TINY: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 257,
}
_END = "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}" + _END + "\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""The chat template of every model made here."""


def made(folder: Path, layers: int, *, tiny: bool = False) -> Path:
    """The model in a folder, made if it is not there. `tiny` makes a layer of some kilobytes instead of 24 MB."""
    if not (folder / "config.json").exists():
        command = [sys.executable, "-m", __name__, str(layers), str(folder), *(["tiny"] if tiny else [])]
        subprocess.run(command, check=True)
    return folder


def warm(folder: Path) -> None:
    """Bring all files of a folder into memory, so that no side pays for reading the disk."""
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def _make(layers: int, folder: Path, *, tiny: bool) -> None:
    config = {**_CONFIG, **(_TINY if tiny else {}), "num_hidden_layers": layers}
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(config, folder)
    _write_tokenizer(folder)
    _write_json(folder / "generation_config.json", {"eos_token_id": config["eos_token_id"]})
    _write_json(folder / "config.json", config)
    time.sleep(_SETTLED_SECONDS)


def _write_weights(config: Mapping[str, Any], folder: Path) -> None:
    import mlx.core as mx

    mx.random.seed(7)
    shapes = _shapes(config)
    total_bytes = sum(2 * math.prod(shape) for shape in shapes.values())
    places: dict[str, str] = {}
    for number, names in enumerate(_shards(shapes, total_bytes), 1):
        file = f"model-{number:05d}-of-{_SHARDS:05d}.safetensors"
        arrays = {
            name: mx.ones(shapes[name], dtype=mx.bfloat16)
            if len(shapes[name]) == 1
            else mx.random.normal(shapes[name], dtype=mx.bfloat16, scale=0.02)
            for name in names
        }
        mx.save_safetensors(str(folder / file), arrays, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": places}
    _write_json(folder / "model.safetensors.index.json", index)


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        in_layer: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "self_attn.q_norm": (head,),
            "self_attn.k_norm": (head,),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in in_layer.items()}
    return shapes


def _shards(shapes: Mapping[str, tuple[int, ...]], total_bytes: int) -> list[list[str]]:
    """Names in order, cut into parts of about one size."""
    shards: list[list[str]] = [[]]
    done_bytes = 0
    for name, shape in shapes.items():
        if done_bytes >= total_bytes * len(shards) / _SHARDS:
            shards.append([])
        shards[-1].append(name)
        done_bytes += 2 * math.prod(shape)
    return shards


def _write_tokenizer(folder: Path) -> None:
    """One token a byte, and one that ends a turn."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(_END, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": _END, "chat_template": TEMPLATE},
    )


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _make(int(sys.argv[1]), Path(sys.argv[2]), tiny="tiny" in sys.argv[3:])
