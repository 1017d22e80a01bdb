"""Whatever stands in a header, what is derived is whole, or refused in our own words."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.tensor_names import factor_tensors
from tests.toolchain.sources.gguf.written_headers import changed, header_of, with_bytes
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS

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


@settings(max_examples=200, deadline=None)
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
