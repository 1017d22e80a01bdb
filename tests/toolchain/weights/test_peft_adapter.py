"""What an adapter of PEFT says: taken where its weights can be merged, refused by name where they cannot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.weights.peft.configuration import PeftConfiguration, UnsupportedAdapter
from mlxbuild.toolchain.weights.peft.parts import parts_of
from tests.toolchain.weights.peft_adapters import CONFIGURATION

WHERE = "adapter/adapter_config.json"
Q, V = "base_model.model.model.layers.0.self_attn.q_proj", "base_model.model.model.layers.0.self_attn.v_proj"


@dataclass(frozen=True)
class Row:
    name: str
    shape: tuple[int, ...]
    dtype: str = "F32"


def read(**fields: Any) -> PeftConfiguration:
    return PeftConfiguration.read(json.dumps({**CONFIGURATION, **fields}).encode(), WHERE)


def refusal(**fields: Any) -> str:
    with pytest.raises(UnsupportedAdapter) as caught:
        read(**fields)
    assert caught.value.where == WHERE
    return caught.value.diagnostics()


def test_ranks_and_scales_by_module() -> None:
    config = read(
        r=8,
        lora_alpha=16,
        rank_pattern={"v_proj": 4, r"^model\.layers\.(0|1)\.mlp\..*": 2},
        alpha_pattern={"v_proj": 2},
    )
    assert (config.rank_of("model.layers.0.self_attn.q_proj"), config.scale_of("a.q_proj")) == (8, 2.0)
    assert (config.rank_of("model.layers.0.self_attn.v_proj"), config.scale_of("a.v_proj")) == (4, 0.5)
    assert config.rank_of("model.layers.0.self_attn.uv_proj") == 8
    assert (config.rank_of("model.layers.1.mlp.up_proj"), config.scale_of("model.layers.1.mlp.up_proj")) == (2, 8.0)
    assert config.rank_of("model.layers.2.mlp.up_proj") == 8
    assert read(r=16, lora_alpha=8, use_rslora=True).scale_of("q_proj") == 2.0


@pytest.mark.parametrize(
    ("fields", "what", "merges"),
    [
        ({"peft_type": "LOHA"}, "adapters of PEFT's type `LOHA`", True),
        ({"peft_type": "IA3"}, "adapters of PEFT's type `IA3`", True),
        ({"peft_type": "PROMPT_TUNING"}, "adapters of PEFT's type `PROMPT_TUNING`", False),
        ({"peft_type": ["LORA"]}, "adapters of PEFT's type `['LORA']`", True),
        ({"use_dora": True}, "DoRA (`use_dora`)", True),
        ({"bias": "lora_only"}, "trained biases (`bias: lora_only`)", True),
        ({"lora_bias": True}, "LoRA with biases (`lora_bias`)", True),
        ({"trainable_token_indices": [1, 2]}, "trained rows of the embedding", True),
        ({"layer_replication": [[0, 2], [1, 3]]}, "replicated layers", True),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "LoRA on bare parameters, such as fused experts", True),
        ({"init_lora_weights": "pissa_niter_4"}, "changed base weights (`init_lora_weights: pissa_niter_4`)", True),
        ({"alora_invocation_tokens": [1]}, "activated LoRA", False),
        ({"some_new_config": {"a": 1}}, "what `some_new_config` stands for", True),
        ({"rank_pattern": {"(a+)+b": 4}}, "the regular expression `(a+)+b` in `rank_pattern`", True),
        ({"alpha_pattern": {f"({'|'.join('ab' * 20)})": 4}}, "the regular expression", True),
        ({"alpha_pattern": {f"layer[{n}]": 4 for n in range(33)}}, "more than 32 regular expressions", True),
        ({"alpha_pattern": {"[z-a]": 4}}, "a broken regular expression", True),
    ],
)  # fmt: skip
def test_other_kinds_are_refused_by_name_with_a_way_on(fields: Any, what: str, merges: bool) -> None:
    told = refusal(**fields)
    assert f"error[unsupported-adapter]: {what}" in told or what in told
    assert ("merge_and_unload" in told) == merges


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"r": 0}, "`r` of adapter_config.json is not a whole number above zero: 0"),
        ({"r": 2.5}, "`r` of adapter_config.json is not a whole number"),
        ({"r": True}, "`r` of adapter_config.json is not a whole number"),
        ({"lora_alpha": None}, "`lora_alpha` of adapter_config.json is not a number: None"),
        ({"lora_alpha": float("nan")}, "`lora_alpha` of adapter_config.json is not a number: nan"),
        ({"lora_alpha": 10**400}, "`lora_alpha` of adapter_config.json is not a number"),
        ({"rank_pattern": {"q_proj": "many"}}, "`rank_pattern.q_proj` of adapter_config.json is not a whole number"),
        ({"rank_pattern": [1]}, "`rank_pattern` of adapter_config.json is not a map"),
        ({"modules_to_save": "lm_head"}, "`modules_to_save` is not a list of names"),
        ({"peft_type": None, "fine_tune_type": "lora"}, "is of mlx-lm"),
    ],
)
def test_what_makes_no_sense_is_told(fields: Any, what: str) -> None:
    assert what in refusal(**fields)


def pair(module: str, rank: int = 4) -> list[Row]:
    return [Row(f"{module}.lora_A.weight", (rank, 16)), Row(f"{module}.lora_B.weight", (32, rank))]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "the adapter holds no tensors"),
        (pair(Q)[:1], "has no `lora_B.weight` beside it"),
        (pair(Q)[1:], "has no `lora_A.weight` beside it"),
        ([Row("base_model.model.a.lora_embedding_B", (8, 4))], "has no `lora_embedding_A` beside it"),
        (pair(Q, 2), "has shapes [2, 16] and [32, 2], but adapter_config.json says rank 4"),
        ([Row(f"{Q}.lora_A.weight", (4, 16)), Row(f"{Q}.lora_B.weight", (32, 3))], "says rank 4"),
        ([Row(f"{Q}.lora_A.weight", (4, 3, 3)), Row(f"{Q}.lora_B.weight", (32, 4, 1))], "of a convolution?"),
        ([*pair(Q), Row(f"{Q}.lora_magnitude_vector", (32,))], "neither half of a LoRA pair nor of a module in"),
        ([*pair(Q), Row(f"{Q}.lora_B.bias", (32,))], "neither half of a LoRA pair nor of a module in"),
        ([*pair(Q), Row("base_model.model.model.norm.weight", (8,))], "neither half of a LoRA pair nor of a module in"),
        ([Row(name.name, name.shape, "F8_E4M3") for name in pair(Q)], "holds F8_E4M3, not F32, F16 or BF16"),
        (pair(Q.removeprefix("base_model.")), "is not named as PEFT names them"),
        (pair(f"base_model.model.{'a.' * 200}q"), "has too long a name"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_sound_adapter_are_told(rows: list[Row], what: str) -> None:
    with pytest.raises(UnsupportedAdapter) as caught:
        parts_of(read(), rows, WHERE)
    assert what in caught.value.message


def test_pairs_and_whole_modules_are_told_apart() -> None:
    rows = [
        *pair(V),
        *pair(Q),
        Row("base_model.model.lm_head.weight", (9, 16)),
        Row("base_model.model.score.bias", (9,)),
    ]
    parts = parts_of(read(modules_to_save=["score"]), rows, WHERE)
    assert [each.module.rpartition(".")[2] for each in parts.pairs] == ["q_proj", "v_proj"]
    assert [name for name, _ in parts.whole] == ["lm_head.weight", "score.bias"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*CONFIGURATION, "new"]), JSON, max_size=4))
def test_any_configuration_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        config = read(**fields)
    except UnsupportedAdapter:
        return
    assert config.rank_of("model.layers.0.self_attn.q_proj") >= 1


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedAdapter):
        PeftConfiguration.read(data, WHERE)


PIECES = st.sampled_from(
    ["base_model.model", "a", "lora_A", "lora_B", "weight", "bias", "base_layer", "lm_head", "lora_embedding_A"]
)


@given(
    st.lists(
        st.builds(
            Row,
            st.lists(PIECES, max_size=5).map(".".join),
            st.lists(st.integers(0, 5), max_size=3).map(tuple),
            st.sampled_from(["F32", "BF16"]),
        ),
        max_size=6,
    )
)
def test_any_tensor_table_is_sorted_or_refused(rows: list[Row]) -> None:
    try:
        parts = parts_of(read(), rows, WHERE)
    except UnsupportedAdapter:
        return
    names = {row.name for row in rows}
    assert 2 * len(parts.pairs) + len(parts.whole) == len(names)
