"""What makes no model, or one that mlx-lm does not follow, is refused with the key or tensor that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.sources.gguf.header import GgufTensor, UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import GgufMetadata
from mlxbuild.toolchain.sources.gguf.tensor_names import GgufTensors
from tests.toolchain.sources.gguf.written_headers import changed, header_of, refused


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"general.architecture": "bert"}, UnsupportedGguf, "GGUF files of the architecture `bert` are not taken"),
        (
            {"general.architecture": "clip"},
            UnsupportedGguf,
            "the file holds a multimodal projector (mmproj), not the language model",
        ),
        (
            {"general.type": "mmproj"},
            UnsupportedGguf,
            "the file holds a multimodal projector (mmproj), not the language model",
        ),
        ({"general.type": "adapter"}, UnsupportedGguf, "the file holds an adapter (LoRA), not a model"),
        ({"general.type": "vocab"}, UnsupportedGguf, "the file holds `vocab`, not a model"),
        ({"general.architecture": None}, GgufMetadata, "the GGUF file's metadata has no `general.architecture`"),
        ({"llama.block_count": None}, GgufMetadata, "the GGUF file's metadata has no `llama.block_count`"),
        (
            {"llama.block_count": "two"},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `llama.block_count` is the text `two`, "
            "where a whole number of 1 or more is expected",
        ),
        (
            {"llama.block_count": 2**30},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `llama.block_count` is 1073741824, but the file has 21 tensors",
        ),
        (
            {"llama.attention.head_count": (4, 2)},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `llama.attention.head_count` is a list of 2, "
            "where a whole number of 1 or more is expected",
        ),
        (
            {"llama.attention.layer_norm_rms_epsilon": float("nan")},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `llama.attention.layer_norm_rms_epsilon` is `nan`, "
            "where a finite number is expected",
        ),
        (
            {"llama.rope.dimension_count": 8},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `llama.rope.dimension_count` is 8, but a head has 16 numbers, "
            "and this architecture rotates all of them",
        ),
        (
            {"llama.rope.scaling.type": "longrope"},
            UnsupportedGguf,
            "`llama.rope.scaling.type` is `longrope`, and mlx-lm's code of this architecture does not scale positions "
            "like that",
        ),
        (
            {"llama.logit_scale": 0.5},
            UnsupportedGguf,
            "`llama.logit_scale` is 0.5, and mlx-lm's code of this architecture does not know of that",
        ),
        (
            {"llama.attention.causal": False},
            UnsupportedGguf,
            "`llama.attention.causal` is false, and mlx-lm's code of this architecture does not know of that",
        ),
        (
            {"tokenizer.ggml.model": "t5"},
            UnsupportedGguf,
            "tokenizers of the kind `t5` (`tokenizer.ggml.model`) cannot be converted",
        ),
        (
            {"tokenizer.ggml.model": "bert"},
            UnsupportedGguf,
            "tokenizers of the kind `bert` (`tokenizer.ggml.model`) cannot be converted",
        ),
        (
            {"tokenizer.ggml.scores": (-1000.0,) * 40, "tokenizer.ggml.tokens": tuple(f"a{n}" for n in range(40))},
            UnsupportedGguf,
            "the GGUF file does not say in which order tokens are merged: all of them have the same score",
        ),
        (
            {"tokenizer.ggml.bos_token_id": 40},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `tokenizer.ggml.bos_token_id` is 40, "
            "but the vocabulary has 40 tokens",
        ),
        (
            {"tokenizer.ggml.token_type": (1,) * 39},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `tokenizer.ggml.tokens` has 40 entries, "
            "but `tokenizer.ggml.token_type` 39",
        ),
        (
            {"tokenizer.huggingface.json": "[]"},
            GgufMetadata,
            "the GGUF file's metadata is invalid: `tokenizer.huggingface.json` is not a tokenizer.json",
        ),
    ],
)
def test_metadata(values: Mapping[str, Any], kind: type[MlxbuildError], message: str) -> None:
    assert refused(changed(header_of("llama"), values), kind) == message


def test_heads_that_do_not_share() -> None:
    assert refused(changed(header_of("qwen2"), {"qwen2.attention.head_count_kv": 3}), GgufMetadata).endswith(
        "4 attention heads cannot share 3 heads of keys and values"
    )


def test_tensors() -> None:
    header = header_of("llama")
    lacking = tuple(tensor for tensor in header.tensors if tensor.name != "blk.1.ffn_norm.weight")
    assert refused(replace(header, tensors=lacking), GgufTensors) == (
        "the file lacks `blk.1.ffn_norm.weight`, which models of the architecture `llama` have"
    )
    extra = GgufTensor("blk.0.ssm_a", "F32", (4,), 0, 16)
    assert refused(replace(header, tensors=(*header.tensors, extra)), GgufTensors) == (
        "the file has `blk.0.ssm_a`, which models of the architecture `llama` do not have"
    )
    odd = tuple(
        replace(tensor, shape=(63, 64)) if tensor.name == "blk.0.attn_q.weight" else tensor for tensor in header.tensors
    )
    assert refused(replace(header, tensors=odd), GgufTensors) == (
        "the tensor `blk.0.attn_q.weight` has 63 rows, which 4 heads cannot share"
    )


@pytest.mark.parametrize(
    ("case", "values", "message"),
    [
        (
            "qwen2 with yarn",
            {"qwen2.rope.scaling.yarn_ext_factor": 0.5},
            "`qwen2.rope.scaling.yarn_ext_factor` is 0.5, where mlx-lm's code takes it for 1.0",
        ),
        (
            "qwen3moe",
            {"qwen3moe.rope.scaling.type": "yarn", "qwen3moe.rope.scaling.factor": 4.0},
            "`qwen3moe.rope.scaling.type` is `yarn`, and mlx-lm's code of this architecture does not scale positions "
            "like that",
        ),
        (
            "mixtral",
            {"llama.expert_gating_func": 2},
            "`llama.expert_gating_func` says that experts are not chosen by a softmax, as mlx-lm's code of this "
            "architecture does",
        ),
        (
            "gemma3",
            {"gemma3.final_logit_softcapping": 30.0},
            "`gemma3.final_logit_softcapping` is 30.0, and mlx-lm's code of this architecture does not know of that",
        ),
    ],
)
def test_what_mlx_lm_does_not_follow(case: str, values: Mapping[str, Any], message: str) -> None:
    assert refused(changed(header_of(case), values), UnsupportedGguf) == message
