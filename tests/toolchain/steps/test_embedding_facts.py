"""How a model embeds is read from what sentence-transformers writes beside it."""

from __future__ import annotations

from typing import Any

import pytest

from mlxbuild.runtime.model.facts import EmbeddingFacts
from mlxbuild.toolchain.steps.embedding_facts import (
    LENGTH_FILE,
    MODULES_FILE,
    POOLING_FILE,
    PROMPTS_FILE,
    UnknownPooling,
    find_embedding,
    lacks_head,
    positions_of,
)

BERT = {"model_type": "bert"}
QWEN = {"model_type": "qwen3"}


def modules(*kinds: str) -> list[dict[str, Any]]:
    return [{"idx": n, "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(kinds)]


def switches(*on: str) -> dict[str, Any]:
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    return {"word_embedding_dimension": 384, **{f"pooling_mode_{name}": name in on for name in names}}


@pytest.mark.parametrize(
    ("config", "documents", "expected"),
    [
        (QWEN, {}, None),
        (QWEN, {PROMPTS_FILE: {"prompts": {"query": "q"}}}, None),
        (BERT, {}, EmbeddingFacts("mean", is_encoder=True)),
        (BERT, {POOLING_FILE: switches("cls_token")}, EmbeddingFacts("cls", is_encoder=True)),
        (QWEN, {POOLING_FILE: switches("lasttoken")}, EmbeddingFacts("last")),
        (QWEN, {POOLING_FILE: {"pooling_mode": "mean"}}, EmbeddingFacts("mean")),
        (QWEN, {MODULES_FILE: modules("Transformer")}, EmbeddingFacts("last")),
        (
            {"model_type": "modernbert"},
            {
                MODULES_FILE: modules("Transformer", "Pooling", "Normalize"),
                POOLING_FILE: switches("mean_tokens"),
                PROMPTS_FILE: {"prompts": {"query": "search_query: ", "odd": 7}, "default_prompt_name": "query"},
                LENGTH_FILE: {"max_seq_length": 256, "do_lower_case": False},
            },
            EmbeddingFacts("mean", True, True, 256, {"query": "search_query: "}, "query"),
        ),
        (BERT, {PROMPTS_FILE: [], LENGTH_FILE: {"max_seq_length": "x"}}, EmbeddingFacts("mean", is_encoder=True)),
    ],
)
def test_found(config: Any, documents: Any, expected: EmbeddingFacts | None) -> None:
    assert find_embedding(config, documents) == expected


def test_the_recipe_has_the_last_word() -> None:
    assert find_embedding(QWEN, {}, "mean") == EmbeddingFacts("mean")
    assert find_embedding(BERT, {POOLING_FILE: switches("max_tokens")}, "cls") == EmbeddingFacts("cls", is_encoder=True)


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ({POOLING_FILE: switches("max_tokens")}, "pooling_mode_max_tokens"),
        ({POOLING_FILE: switches("cls_token", "mean_tokens")}, "cls_token, pooling_mode_mean_tokens"),
        ({POOLING_FILE: switches()}, "nothing"),
        ({POOLING_FILE: {"pooling_mode": "max"}}, "is max"),
        ({POOLING_FILE: []}, "nothing"),
        ({MODULES_FILE: modules("Transformer", "Pooling", "Dense")}, "a module `Dense`"),
    ],
)
def test_what_is_not_known_is_refused(documents: Any, told: str) -> None:
    with pytest.raises(UnknownPooling, match=told):
        find_embedding(BERT, documents)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gemma3_text", "use_bidirectional_attention": True},
        {"model_type": "qwen2", "is_causal": False},
        {"model_type": "bert", "is_decoder": True},
    ],
)
def test_a_model_that_looks_where_its_code_does_not_is_refused(config: Any) -> None:
    with pytest.raises(UnknownPooling, match="causal attention"):
        find_embedding(config, {MODULES_FILE: modules("Transformer", "Pooling")})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["MistralModel"], "tie_word_embeddings": False}, True),
        ({"architectures": ["MistralModel"], "tie_word_embeddings": True}, False),
        ({"architectures": ["Qwen3Model"]}, False),
        ({"architectures": ["MistralForCausalLM"], "tie_word_embeddings": False}, False),
        ({"architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": False}, False),
        ({"architectures": ["BertModel"], "model_type": "bert", "tie_word_embeddings": False}, False),
    ],
)
def test_a_decoder_that_was_saved_without_its_head(config: Any, expected: bool) -> None:
    assert lacks_head(config) is expected


def test_positions_that_roberta_does_not_use_are_none() -> None:
    assert positions_of({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}) == 512
    assert positions_of({"model_type": "bert", "max_position_embeddings": 512}) is None
    assert positions_of({"model_type": "roberta"}) is None
