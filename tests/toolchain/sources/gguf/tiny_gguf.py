"""A tiny llama with random weights and a vocabulary of bytes, as one GGUF file of the `gguf` package or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.toolchain.weights.formats.gguf_blocks_of_chance import blocks, write

WIDTH, HIDDEN, HEADS, KEY_HEADS, LAYERS = 256, 512, 4, 2, 2
TEMPLATE = "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"


def letters() -> list[str]:
    """The letters that stand for the 256 bytes in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]


TOKENS = [*letters(), "ab", "<s>", "</s>", *(f"<unused{number}>" for number in range(29))]


def metadata(**changes: Any) -> dict[str, Any]:
    """The keys of the file; `__` stands for a dot, and None leaves a key out."""
    fields = {
        "general__name": "Tiny",
        "llama__block_count": LAYERS,
        "llama__context_length": 128,
        "llama__embedding_length": WIDTH,
        "llama__feed_forward_length": HIDDEN,
        "llama__attention__head_count": HEADS,
        "llama__attention__head_count_kv": KEY_HEADS,
        "llama__attention__layer_norm_rms_epsilon": 1e-5,
        "llama__rope__freq_base": 10000.0,
        "llama__rope__dimension_count": WIDTH // HEADS,
        "llama__vocab_size": len(TOKENS),
        "tokenizer__ggml__model": "gpt2",
        "tokenizer__ggml__pre": "smollm",
        "tokenizer__ggml__tokens": TOKENS,
        "tokenizer__ggml__token_type": [1] * 257 + [3] * (len(TOKENS) - 257),
        "tokenizer__ggml__merges": ["a b"],
        "tokenizer__ggml__bos_token_id": 257,
        "tokenizer__ggml__eos_token_id": 258,
        "tokenizer__chat_template": TEMPLATE,
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def matrices() -> dict[str, tuple[int, int]]:
    """Name to rows and columns of what may be quantized."""
    heads = WIDTH * KEY_HEADS // HEADS
    layer = {
        "attn_q": (WIDTH, WIDTH), "attn_k": (heads, WIDTH), "attn_v": (heads, WIDTH), "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
    }  # fmt: skip
    each = {f"blk.{number}.{name}.weight": shape for number in range(LAYERS) for name, shape in layer.items()}
    return {"token_embd.weight": (len(TOKENS), WIDTH), **each}


def norms() -> list[str]:
    """Names of the vectors, all as long as the model is wide."""
    each = [f"blk.{number}.{name}.weight" for number in range(LAYERS) for name in ("attn_norm", "ffn_norm")]
    return [*each, "output_norm.weight"]


def tensors(kinds: Iterable[str] = ("Q8_0",)) -> dict[str, tuple[str, Any]]:
    """Random tensors whose matrices take types in turn."""
    kinds = tuple(kinds)
    found: dict[str, tuple[str, Any]] = {}
    for number, (name, (rows, columns)) in enumerate(matrices().items()):
        kind = kinds[number % len(kinds)]
        found[name] = (kind, blocks(kind, rows, columns, seed=number))
    for name in norms():
        found[name] = ("F32", np.linspace(0.9, 1.1, WIDTH, dtype=np.float32).view(np.uint8).reshape(WIDTH, 4))
    return found


def tiny_gguf(path: Path, kinds: Iterable[str] = ("Q8_0",), **changes: Any) -> Path:
    """Write the model into one file."""
    return write(path, tensors(kinds), **metadata(**changes))


def split_gguf(folder: Path, stem: str, count: int) -> list[Path]:
    """Write the model into several files; the first holds the metadata."""
    members = list(tensors().items())
    paths = []
    for number in range(count):
        path = folder / f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"
        part: Mapping[str, tuple[str, Any]] = dict(members[number::count])
        fields = metadata() if number == 0 else {}
        writer_fields = {"split__no": number, "split__count": count, "split__tensors__count": len(members)}
        paths.append(write(path, part, **fields, **writer_fields))
    return paths


def numbers_of(path: Path) -> dict[str, Any]:
    """Every tensor of a file as the `gguf` package reads it."""
    return {
        tensor.name: gguf.quants.dequantize(np.array(tensor.data), tensor.tensor_type).reshape(
            tuple(map(int, reversed(tensor.shape)))
        )
        for tensor in gguf.GGUFReader(path).tensors
    }
