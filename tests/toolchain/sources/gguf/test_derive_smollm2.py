"""What is derived of a real GGUF file, SmolLM2-135M-Instruct, is what its publisher has beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.derived import DerivedModel, Placement
from mlxbuild.toolchain.sources.gguf.header import read_gguf_file_header
from tests.real.models import SMOLLM2_GGUF, require

CHECK_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅ 🦙🦙 "
    "3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, "
    "'D you like some tea? We'Ve a'lL"
)
"""The text by whose tokens llama.cpp's converter tells pre-tokenizers apart (`get_vocab_base_pre`)."""


@pytest.fixture(scope="module")
def derived() -> DerivedModel:
    path = require(SMOLLM2_GGUF)
    return derive(read_gguf_file_header(path), str(path))


def documents(derived: DerivedModel) -> Mapping[str, object]:
    return {name: json.loads(content) for name, content in derived.documents.items() if name.endswith(".json")}


def test_the_tokenizer_cuts_as_the_original(derived: DerivedModel) -> None:
    tokenizer = Tokenizer.from_str(derived.documents["tokenizer.json"].decode())
    # What the converter holds for HuggingFaceTB/SmolLM-135M, made with the original tokenizer.
    known = "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249"
    assert sha256(str(tokenizer.encode(CHECK_TEXT).ids).encode()).hexdigest() == known
    assert tokenizer.decode(tokenizer.encode(CHECK_TEXT).ids) == CHECK_TEXT
    asked = tokenizer.encode("<|im_start|>user\nHi 12<|im_end|>")
    assert asked.tokens == ["<|im_start|>", "user", "Ċ", "Hi", "Ġ", "1", "2", "<|im_end|>"]
    assert (asked.ids[0], asked.ids[-1]) == (1, 2)
    assert tokenizer.decode(asked.ids) == "user\nHi 12"


def test_the_configuration_is_the_original_one(derived: DerivedModel) -> None:
    told = documents(derived)
    assert told["config.json"] == {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": [0, 2],
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "vocab_size": 49152,
    }
    assert told["generation_config.json"] == {"bos_token_id": 1, "eos_token_id": [0, 2], "pad_token_id": 2}
    assert b"<|im_start|>" in derived.documents["chat_template.jinja"]


def test_every_tensor_has_its_place(derived: DerivedModel) -> None:
    assert len(derived.placements) == 272
    assert derived.placements["token_embd.weight"] == Placement("model.embed_tokens.weight")
    assert derived.placements["blk.29.attn_q.weight"] == Placement("model.layers.29.self_attn.q_proj.weight", 9)
    assert derived.placements["blk.0.attn_k.weight"] == Placement("model.layers.0.self_attn.k_proj.weight", 3)
    assert derived.placements["blk.0.attn_v.weight"] == Placement("model.layers.0.self_attn.v_proj.weight")


def test_transformers_loads_it_alike(derived: DerivedModel, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name, content in derived.documents.items():
        (tmp_path / name).write_bytes(content)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = Tokenizer.from_str(derived.documents["tokenizer.json"].decode())
    assert loaded.encode(CHECK_TEXT) == tokenizer.encode(CHECK_TEXT).ids
    assert (loaded.bos_token_id, loaded.eos_token_id) == (1, 2)
    asked = loaded.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False)
    assert asked.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
