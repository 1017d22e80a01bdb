"""Rotary positions and windows of attention are told in config.json, or refused where it has no words for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import GgufMetadata
from mlxbuild.toolchain.sources.gguf.rope_factors import llama3_scaling
from mlxbuild.toolchain.sources.gguf.tensor_names import factor_tensors
from tests.toolchain.sources.gguf.written_headers import changed, header_of, refused
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS, LLAMA3, llama3_factors


def test_factors_that_config_json_cannot_tell() -> None:
    header = header_of("llama 3.2")
    assert factor_tensors(header) == ("rope_freqs.weight",)
    told = "the tensor `rope_freqs.weight` cannot be expressed in config.json: "
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
        "does not have full attention at equal intervals of layers"
    )


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
