"""Writes the tiny random models beside this file with the vectors that transformers makes of them.

Run by hand, where torch and transformers are installed: `python make.py`. What it wrote is kept, so no test needs them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

SIZE = {"vocab_size": 60, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
MODELS = {
    "bert": (BertConfig, BertModel, {"num_hidden_layers": 2, "max_position_embeddings": 40}),
    "xlm-roberta": (
        XLMRobertaConfig,
        XLMRobertaModel,
        {
            "num_hidden_layers": 2,
            "max_position_embeddings": 42,
            "pad_token_id": 1,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    ),
    "modernbert": (
        ModernBertConfig,
        ModernBertModel,
        {
            "num_hidden_layers": 4,
            "max_position_embeddings": 64,
            "local_attention": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "cls_token_id": 1,
            "eos_token_id": 2,
            "sep_token_id": 2,
        },
    ),
    "qwen3": (
        Qwen3Config,
        Qwen3Model,
        {
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "max_position_embeddings": 64,
            "tie_word_embeddings": True,
        },
    ),
}
ROWS = [[2, 7, 9, 30, 41, 5, 3], [2, 11, 3], [2] + [(i * 7) % 50 + 5 for i in range(25)] + [3]]


def main() -> None:
    """Write all of them."""
    torch.manual_seed(5)
    for name, (config_class, model_class, more) in MODELS.items():
        folder = Path(__file__).with_name(name)
        model = model_class(config_class(**SIZE, **more, attn_implementation="eager")).eval()
        for _, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            drawn = parameter.data + noise * 0.1 if parameter.ndim == 1 else noise * 0.25
            parameter.data = drawn.half().float()  # numbers that the file holds exactly
        longest = max(map(len, ROWS))
        tokens = torch.tensor([row + [more.get("pad_token_id", 0)] * (longest - len(row)) for row in ROWS])
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ROWS])
        with torch.no_grad():
            states = model(input_ids=tokens, attention_mask=real).last_hidden_state
        own = [states[number, : len(row)] for number, row in enumerate(ROWS)]
        vectors = {"mean": [x.mean(0) for x in own], "cls": [x[0] for x in own], "last": [x[-1] for x in own]}
        numbers = {kind: [[round(n, 6) for n in x.tolist()] for x in found] for kind, found in vectors.items()}
        model.half().save_pretrained(folder)
        (folder / "vectors.json").write_text(json.dumps({"rows": ROWS, **numbers}, separators=(",", ":")))


if __name__ == "__main__":
    main()
