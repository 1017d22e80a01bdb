"""Tiny models as folders in the form of an artifact: random weights, a byte-level tokenizer, a ChatML template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import tokenizers
from mlx.utils import tree_flatten

from mlxbuild.runtime.model.architecture import model_classes
from mlxbuild.runtime.model.prompt import ChatTemplate, named
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.toolchain.steps.model_facts import find_facts, named_special_tokens

SPECIAL = ("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
CONFIG: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 1,
}


def byte_tokenizer(texts: tuple[str, ...] = ("hello world, how are you? " * 20,)) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer trained on a few words: most characters are several tokens."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIAL), initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_tokenizer(folder: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json`."""
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    document = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(document))


def write_model(
    folder: Path,
    model_type: str = "qwen3",
    *,
    quantization: Mapping[str, Any] | None = None,
    dtype: mx.Dtype = mx.float32,
    template: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """A whole folder; the same arguments give the same weights. `more` is added to its configuration."""
    (folder / "mlxbuild").mkdir(parents=True)
    write_tokenizer(folder)
    vocabulary_size = Tokenizer.open(folder).vocabulary_size
    config: dict[str, Any] = {"model_type": model_type, "vocab_size": vocabulary_size, **CONFIG, **(more or {})}
    mx.random.seed(11)
    model_class, arguments_class = model_classes(config)
    model = model_class(arguments_class.from_dict(config))
    model.set_dtype(dtype)
    if quantization is not None:
        nn.quantize(model, **quantization)
        config["quantization"] = dict(quantization)
    weights: Any = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    text = named("chatml") if template is None else template
    (folder / "chat_template.jinja").write_text(text)
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    special_tokens = named_special_tokens(tokenizer_config, {})
    facts = find_facts(
        config=config,
        generation_config={},
        tokenizer_config=tokenizer_config,
        special_tokens=special_tokens,
        tokenizer=Tokenizer.open(folder),
        template=ChatTemplate(text, special_tokens),
        defaults={},
    )
    (folder / "mlxbuild" / "facts.json").write_bytes(facts.to_json())
    if defaults is not None:
        (folder / "mlxbuild" / "defaults.json").write_text(json.dumps(defaults))
    return folder
