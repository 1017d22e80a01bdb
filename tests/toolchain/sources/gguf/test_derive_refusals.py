"""What is derived of a header is whole, or refused in our own words with the key or tensor that is wrong."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from registry.errors import MlxbuildError
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS, LLAMA3, llama3_factors, random_model, write_gguf
from toolchain.sources.gguf.derive import derive
from toolchain.sources.gguf.header import GgufHeader, GgufTensor, UnsupportedGguf, read_gguf_file_header
from toolchain.sources.gguf.metadata import GgufMetadata
from toolchain.sources.gguf.rope_factors import llama3_scaling
from toolchain.sources.gguf.tensor_names import GgufTensors, factor_tensors

BYTE_LEVEL: Mapping[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ("a", "b", "ab", "Ġ", "<|im_end|>", "<think>", "[PAD6]", "<odd｜>"),
    "tokenizer.ggml.token_type": (1, 1, 1, 1, 3, 4, 5, 3),
    "tokenizer.ggml.merges": ("a b",),
    "tokenizer.ggml.eos_token_id": 4,
}


@functools.cache
def header_of(case: str) -> GgufHeader:
    architecture, config = CONFIGURATIONS[case]
    with tempfile.TemporaryDirectory() as folder:
        return read_gguf_file_header(
            write_gguf(Path(folder) / "model.gguf", architecture, config, random_model(config))
        )


def changed(header: GgufHeader, values: Mapping[str, Any]) -> GgufHeader:
    """With other metadata; None takes a key away."""
    merged = {**header.metadata, **values}
    return replace(header, metadata={key: value for key, value in merged.items() if value is not None})


def without_tokenizer(header: GgufHeader) -> GgufHeader:
    return changed(header, {key: None for key in header.metadata if key.startswith("tokenizer.")})


def with_bytes(header: GgufHeader) -> GgufHeader:
    return changed(without_tokenizer(header), BYTE_LEVEL)


def refused(header: GgufHeader, kind: type[MlxbuildError], **arguments: Any) -> str:
    with pytest.raises(kind) as caught:
        derive(header, "x.gguf", **arguments)
    assert caught.value.where == "x.gguf"
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"general.architecture": "bert"}, UnsupportedGguf, "GGUF files of the architecture `bert` are not taken"),
        (
            {"general.architecture": "clip"},
            UnsupportedGguf,
            "the file holds the part of a model that sees or hears (mmproj), not the language model",
        ),
        (
            {"general.type": "mmproj"},
            UnsupportedGguf,
            "the file holds the part of a model that sees or hears (mmproj), not the language model",
        ),
        ({"general.type": "adapter"}, UnsupportedGguf, "the file holds an adapter (LoRA), not a model"),
        ({"general.type": "vocab"}, UnsupportedGguf, "the file holds `vocab`, not a model"),
        ({"general.architecture": None}, GgufMetadata, "the GGUF file's metadata has no `general.architecture`"),
        ({"llama.block_count": None}, GgufMetadata, "the GGUF file's metadata has no `llama.block_count`"),
        (
            {"llama.block_count": "two"},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `llama.block_count` is the text `two`, "
            "where a whole number of 1 or more is expected",
        ),
        (
            {"llama.block_count": 2**30},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `llama.block_count` is 1073741824, but the file has 21 tensors",
        ),
        (
            {"llama.attention.head_count": (4, 2)},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `llama.attention.head_count` is a list of 2, "
            "where a whole number of 1 or more is expected",
        ),
        (
            {"llama.attention.layer_norm_rms_epsilon": float("nan")},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `llama.attention.layer_norm_rms_epsilon` is `nan`, "
            "where a finite number is expected",
        ),
        (
            {"llama.rope.dimension_count": 8},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `llama.rope.dimension_count` is 8, but a head has 16 numbers, "
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
            "tokenizers of the kind `t5` (`tokenizer.ggml.model`) are not rebuilt",
        ),
        (
            {"tokenizer.ggml.model": "bert"},
            UnsupportedGguf,
            "tokenizers of the kind `bert` (`tokenizer.ggml.model`) are not rebuilt",
        ),
        (
            {"tokenizer.ggml.scores": (-1000.0,) * 40, "tokenizer.ggml.tokens": tuple(f"a{n}" for n in range(40))},
            UnsupportedGguf,
            "the GGUF file does not say in which order tokens are merged: all of them have the same score",
        ),
        (
            {"tokenizer.ggml.bos_token_id": 40},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `tokenizer.ggml.bos_token_id` is 40, "
            "but the vocabulary has 40 tokens",
        ),
        (
            {"tokenizer.ggml.token_type": (1,) * 39},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `tokenizer.ggml.tokens` has 40 entries, "
            "but `tokenizer.ggml.token_type` 39",
        ),
        (
            {"tokenizer.huggingface.json": "[]"},
            GgufMetadata,
            "the GGUF file's metadata makes no model: `tokenizer.huggingface.json` is no tokenizer.json",
        ),
    ],
)
def test_metadata(values: Mapping[str, Any], kind: type[MlxbuildError], message: str) -> None:
    assert refused(changed(header_of("llama"), values), kind) == message


def test_heads_that_do_not_share() -> None:
    assert refused(changed(header_of("qwen2"), {"qwen2.attention.head_count_kv": 3}), GgufMetadata).endswith(
        "4 attention heads cannot share 3 heads of keys and values"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"tokenizer.ggml.pre": None},
            "the GGUF file does not say how text is cut into tokens (`tokenizer.ggml.pre` is missing)",
        ),
        (
            {"tokenizer.ggml.pre": "default"},
            "the GGUF file does not say how text is cut into tokens (`tokenizer.ggml.pre` is `default`)",
        ),
        (
            {"tokenizer.ggml.pre": "shiny-new"},
            "the way in which `shiny-new` cuts text (`tokenizer.ggml.pre`) is not known",
        ),
    ],
)
def test_a_pre_tokenizer_is_never_guessed(values: Mapping[str, Any], message: str) -> None:
    header = with_bytes(header_of("llama"))
    assert refused(changed(header, values), UnsupportedGguf) == message
    assert "tokenizer.json" not in derive(changed(header, values), tokenizer=False).documents


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


def test_factors_that_config_json_cannot_tell() -> None:
    header = header_of("llama 3.2")
    assert factor_tensors(header) == ("rope_freqs.weight",)
    told = "the tensor `rope_freqs.weight` cannot be told in config.json: "
    assert refused(header, UnsupportedGguf) == told + "its values were not read"
    assert refused(header, UnsupportedGguf, factors={"rope_freqs.weight": [1.5] * 32}) == (
        told + "no known parameters of Llama 3's scaling give these factors"
    )
    assert refused(header, UnsupportedGguf, factors={"rope_freqs.weight": [1.0] * 31}) == (
        told + "31 factors for heads of 64 numbers"
    )


@pytest.mark.parametrize("factor", [8.0, 32.0])
@pytest.mark.parametrize("size", [64, 128])
def test_llama3_parameters_are_found_again(factor: float, size: int) -> None:
    scaling = {**LLAMA3, "factor": factor}
    assert llama3_scaling(llama3_factors(scaling, 500000.0, size).tolist(), 500000.0, size) == scaling
    assert llama3_scaling([1.0] * (size // 2), 500000.0, size) is None


def configuration_of(header: GgufHeader) -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads(derive(header, tokenizer=False).documents["config.json"])
    return told


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [
        (None, [True, True, True, True, True, False]),
        (3, [True, True, False, True, True, False]),
        ((True, False, True, False, True, False), [True, False, True, False, True, False]),
    ],
)
def test_which_layers_of_gemma_attend_in_windows(pattern: Any, windows: list[bool]) -> None:
    header = changed(header_of("gemma3"), {"gemma3.attention.sliding_window_pattern": pattern})
    kinds = configuration_of(header)["layer_types"]
    assert kinds == ["sliding_attention" if is_window else "full_attention" for is_window in windows]


def test_gemma_without_windows() -> None:
    told = configuration_of(changed(header_of("gemma3"), {"gemma3.attention.sliding_window": None}))
    assert told["layer_types"] == ["full_attention"] * 6
    assert told["sliding_window_pattern"] == 1


def test_layers_at_unequal_distances() -> None:
    odd = {"gemma3.attention.sliding_window_pattern": (True, False, True, True, True, False)}
    assert refused(changed(header_of("gemma3"), odd), GgufMetadata).endswith(
        "has no layer in equal distances whose attention is not in windows"
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


@pytest.mark.parametrize("case", ["llama", "mixtral", "qwen2", "qwen3moe", "gemma2", "gemma3", "phi3"])
def test_attention_that_is_scaled_beside_its_positions(case: str) -> None:
    key = f"{CONFIGURATIONS[case][0]}.rope.scaling.attn_factor"
    derive(changed(header_of(case), {key: 1.0}), tokenizer=False)
    message = refused(changed(header_of(case), {key: 1.5}), UnsupportedGguf)
    assert message == f"`{key}` is 1.5, where mlx-lm's code takes it for 1.0"


def test_long_rope_of_another_attention_factor() -> None:
    header = changed(header_of("phi4 mini"), {"phi3.rope.scaling.attn_factor": 2.0})
    factors = {name: [1.0] * 6 for name in factor_tensors(header)}
    assert "attention is scaled by 2.0, not by 1.154701" in refused(header, UnsupportedGguf, factors=factors)


def tokenizer_of(header: GgufHeader) -> tuple[Tokenizer, Mapping[str, Any]]:
    documents = derive(header).documents
    return Tokenizer.from_str(documents["tokenizer.json"].decode()), json.loads(documents["tokenizer_config.json"])


def test_kinds_of_tokens() -> None:
    tokenizer, told = tokenizer_of(with_bytes(header_of("llama")))
    assert tokenizer.encode("ab<think>a<|im_end|><odd｜>").tokens == ["ab", "<think>", "a", "<|im_end|>", "<odd｜>"]
    assert tokenizer.decode([2, 5, 0, 4, 7]) == "ab<think>a"
    assert tokenizer.token_to_id("[PAD6]") is None
    assert told == {
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def test_ends_of_texts() -> None:
    header = changed(with_bytes(header_of("llama")), {"tokenizer.ggml.bos_token_id": 7})
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    assert tokenizer_of(header)[0].encode("a").tokens == ["a"]
    assert tokenizer_of(changed(header, both))[0].encode("a").tokens == ["<odd｜>", "a", "<|im_end|>"]
    # Llama 3's texts begin with the token for that, though older files have no key for it.
    assert tokenizer_of(changed(header, {"tokenizer.ggml.pre": "llama-bpe"}))[0].encode("a").ids == [7, 0]
    lacking = changed(header, {**both, "tokenizer.ggml.eos_token_id": None})
    assert refused(lacking, GgufMetadata).endswith(
        "texts are to have the eos token, but there is no `tokenizer.ggml.eos_token_id`"
    )


def test_an_original_tokenizer_is_taken_whole() -> None:
    whole = '{"model": {"type": "BPE", "vocab": {"x": 0}, "merges": []}, "added_tokens": []}'
    header = changed(header_of("llama"), {"tokenizer.huggingface.json": whole})
    assert derive(header).documents["tokenizer.json"] == whole.encode()


def test_gemma_ends_answers_with_its_turns() -> None:
    header = header_of("gemma3")
    texts = list(header.metadata["tokenizer.ggml.tokens"])
    texts[3], texts[4], texts[5] = "<end_of_turn>", "  ", "▁"
    ours = changed(
        header,
        {
            "tokenizer.ggml.tokens": tuple(texts),
            "tokenizer.ggml.token_type": (2, 3, 3, 3, 4, *[1] * 35),
            "tokenizer.ggml.add_space_prefix": False,
        },
    )
    assert json.loads(derive(ours).documents["generation_config.json"])["eos_token_id"] == [2, 3]
    # Runs of spaces stand in the file with real spaces, and are one token of two that SentencePiece merges.
    tokenizer, _ = tokenizer_of(ours)
    assert tokenizer.encode("  d").ids == [1, 4, 6]


def test_a_template_of_none() -> None:
    header = header_of("llama")
    assert "chat_template.jinja" not in derive(header).documents
    told = derive(changed(header, {"tokenizer.chat_template": "{{ messages }}\n"})).documents
    assert told["chat_template.jinja"] == b"{{ messages }}\n"


def test_a_file_without_vocabulary_needs_a_tokenizer() -> None:
    header = header_of("llama")
    bare = without_tokenizer(header)
    assert set(derive(bare, tokenizer=False).documents) == {"config.json", "generation_config.json"}
    assert refused(bare, GgufMetadata) == "the GGUF file's metadata has no `tokenizer.ggml.tokens`"


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70),
    st.sampled_from([2**31, 2**32 - 1, 2**63, -(2**63)]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["llama", "gpt2", "gpt-2", "linear", "yarn", "gemma3", "phi3", "qwen2moe", "none"]),
    st.lists(st.integers(-1, 8), max_size=40).map(tuple),
    st.lists(st.floats(), max_size=40).map(tuple),
    st.lists(st.text("ab▁ <|>", max_size=3), min_size=38, max_size=41).map(tuple),
    st.lists(st.text("ab ", max_size=4), max_size=5).map(tuple),
    st.just(((1, 2), ("x",))),
)
OTHER_KEYS = (
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.key_length",
    "expert_count",
    "expert_used_count",
)
TOKENIZER_KEYS = (
    "general.type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.chat_template",
    "tokenizer.huggingface.json",
)


@settings(max_examples=600, deadline=None)
@given(case=st.sampled_from(sorted(CONFIGURATIONS)), is_byte_level=st.booleans(), data=st.data())
def test_any_metadata(case: str, is_byte_level: bool, data: st.DataObject) -> None:
    header = with_bytes(header_of(case)) if is_byte_level else header_of(case)
    architecture = header.metadata["general.architecture"]
    keys = sorted({*header.metadata, *(f"{architecture}.{name}" for name in OTHER_KEYS), *TOKENIZER_KEYS})
    mutation = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=3))
    factors = {name: data.draw(st.lists(st.floats(), max_size=40)) for name in factor_tensors(header)}
    try:
        derived = derive(changed(header, mutation), factors=factors)
    except MlxbuildError:
        return
    json.loads(derived.documents["config.json"])
    if "tokenizer.huggingface.json" not in mutation:
        Tokenizer.from_str(derived.documents["tokenizer.json"].decode()).encode("ab  a")


@settings(max_examples=100, deadline=None)
@given(case=st.sampled_from(sorted(CONFIGURATIONS)), data=st.data())
def test_any_shapes(case: str, data: st.DataObject) -> None:
    header = header_of(case)
    shapes = st.lists(st.integers(1, 70), min_size=1, max_size=4).map(tuple)
    chosen = data.draw(st.sets(st.integers(0, len(header.tensors) - 1), max_size=3))
    tensors = tuple(
        replace(tensor, shape=data.draw(shapes)) if number in chosen else tensor
        for number, tensor in enumerate(header.tensors)
    )
    with suppress(MlxbuildError):
        derive(replace(header, tensors=tensors), tokenizer=False)
