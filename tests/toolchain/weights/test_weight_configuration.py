"""The final config.json says what mlx-lm needs to load the blocks, and nothing of the machine."""

from __future__ import annotations

import json
from typing import Any

from mlxbuild.toolchain.spec.resolved import Quantization, QuantizationScheme
from mlxbuild.toolchain.weights.configuration import final_configuration, shard_index
from mlxbuild.toolchain.weights.facts import BlockFacts
from mlxbuild.toolchain.weights.writer import StoredTensor

FOUR, EIGHT = QuantizationScheme("affine", 4, 64), QuantizationScheme("affine", 8, 64)
ROW = StoredTensor("model.layers.0.w.weight", "U32", (4, 1), 16)


def configured(
    source: dict[str, Any], quantized: dict[str, QuantizationScheme], scheme: QuantizationScheme | None = None,
    dtype: str | None = None, tensors: tuple[StoredTensor, ...] = (ROW,),
) -> dict[str, Any]:  # fmt: skip
    facts = BlockFacts({"shard-00": tensors}, quantized, 32)
    data = final_configuration(json.dumps(source).encode(), [facts], Quantization("x", scheme), dtype)
    decoded: dict[str, Any] = json.loads(data)
    assert list(decoded) == sorted(decoded)
    return decoded


def test_facts_survive_their_json() -> None:
    facts = BlockFacts({"shard-00": (ROW,)}, {"model.layers.0.w": FOUR}, 32)
    assert BlockFacts.from_json(facts.to_json()) == facts


def test_only_what_differs_is_named() -> None:
    config = configured({"model_type": "llama", "_name_or_path": "/home/me"}, {"a": FOUR, "b": EIGHT}, FOUR)
    entry = {"mode": "affine", "bits": 4, "group_size": 64, "b": {"mode": "affine", "bits": 8, "group_size": 64}}
    assert config == {"model_type": "llama", "quantization": entry, "quantization_config": entry}


def test_without_a_scheme_the_commonest_is_at_the_top() -> None:
    config = configured({}, {"a": FOUR, "b": EIGHT, "c": EIGHT})
    assert config["quantization"]["bits"] == 8
    assert config["quantization"]["a"]["bits"] == 4


def test_what_another_tool_says_of_unpacked_weights_goes() -> None:
    packing = {"quant_method": "fp8"}
    config = configured({"quantization_config": packing, "text_config": {"quantization_config": packing}}, {})
    assert config == {"text_config": {}}


def test_what_mlx_says_of_quantized_weights_stays() -> None:
    source = {
        "quantization": {"mode": "affine", "bits": 4, "group_size": 64},
        "quantization_config": {"bits": 4, "group_size": 64},
    }
    assert configured(source, {}) == source


def test_the_dtype_is_named_where_the_source_names_it() -> None:
    assert configured({"torch_dtype": "float32"}, {}, dtype="bfloat16") == {"torch_dtype": "bfloat16"}
    nested = {"text_config": {"dtype": "float32"}, "dtype": "float32"}
    assert configured(nested, {}, dtype="float16") == {"text_config": {"dtype": "float16"}, "dtype": "float16"}
    assert configured({}, {}, dtype="float16") == {"torch_dtype": "float16"}


def test_the_vision_part_goes_unless_its_weights_stay() -> None:
    source = {"vision_config": {"depth": 2}}
    tower = StoredTensor("model.vision_tower.w", "F32", (1,), 4)
    assert configured(source, {}) == {}
    assert configured(source, {}, tensors=(ROW, tower)) == source


def test_infinities_are_written_as_json() -> None:
    source = b'{"limit": Infinity, "other": [-Infinity, {"__float__": "NaN"}]}'
    data = final_configuration(source, [], Quantization("none", None), None)
    tags = {"limit": {"__float__": "Infinity"}, "other": [{"__float__": "-Infinity"}, {"__float__": "NaN"}]}
    assert json.loads(data) == tags


def test_the_index_maps_tensors_to_files() -> None:
    other = StoredTensor("a", "F32", (2,), 8)
    assert json.loads(shard_index({"model-00001-of-00001.safetensors": (ROW, other)}, 34)) == {
        "metadata": {"total_parameters": 34, "total_size": 24},
        "weight_map": dict.fromkeys(("a", ROW.name), "model-00001-of-00001.safetensors"),
    }
