"""Weights are held in the form that a CPU computes fastest, when memory allows, and are those of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlxbuild.runtime.model.architecture import UnsupportedArchitecture
from mlxbuild.runtime.model.load import WeightsUnreadable, load_weights
from mlxbuild.runtime.model.memory import available_bytes
from tests.runtime.tiny_folders import write_model

PLENTY = 1 << 40
INT4 = {"group_size": 32, "bits": 4, "mode": "affine"}
MODES = [INT4, {"group_size": 32, "bits": 4, "mode": "mxfp4"}, {"group_size": 32, "bits": 8, "mode": "mxfp8"}]


def parameters(model: Any) -> dict[str, mx.array]:
    found: Any = tree_flatten(model.parameters())
    return dict(found)


def logits(model: Any) -> mx.array:
    result: mx.array = model(mx.array([[5, 7, 11, 13]])).astype(mx.float32)
    return result


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode["mode"])
def test_quantized_weights_are_expanded(tmp_path: Path, mode: dict[str, Any]) -> None:
    folder = write_model(tmp_path / "model", quantization=mode, dtype=mx.bfloat16)
    expanded, kept = load_weights(folder, memory_bytes=PLENTY), load_weights(folder, memory_bytes=0)
    assert (expanded.holding.dequantized, expanded.holding.dtype) == (True, "float32")
    assert (kept.holding.dequantized, kept.holding.dtype) == (False, "bfloat16")
    assert {array.dtype for array in parameters(expanded.model).values()} == {mx.float32}
    assert expanded.holding.size_bytes == sum(array.nbytes for array in parameters(expanded.model).values())
    difference = mx.abs(logits(expanded.model) - logits(kept.model)).max().item()
    assert difference < 0.05 * mx.abs(logits(kept.model)).max().item()


def test_expanded_values_are_those_that_were_stored(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", quantization=INT4)
    stored = mx.load(str(folder / "model.safetensors"))
    name = "model.layers.0.mlp.up_proj"
    parts = (stored[f"{name}.{part}"] for part in ("weight", "scales", "biases"))
    expected = mx.dequantize(*parts, group_size=32, bits=4)
    assert mx.array_equal(parameters(load_weights(folder, memory_bytes=PLENTY).model)[f"{name}.weight"], expected)


def test_with_less_memory_the_own_sixteen_bits_are_kept(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", quantization=INT4, dtype=mx.bfloat16)
    numbers = load_weights(folder, memory_bytes=PLENTY).holding.size_bytes // 4
    holding = load_weights(folder, memory_bytes=numbers * 6).holding
    assert (holding.dequantized, holding.dtype) == (True, "bfloat16")
    assert "half of the free memory" in holding.reason


def test_experts_stay_quantized_where_float32_finds_no_place(tmp_path: Path) -> None:
    more = {"num_local_experts": 4, "num_experts_per_tok": 2}
    folder = write_model(tmp_path / "model", "mixtral", quantization=INT4, dtype=mx.bfloat16, more=more)
    numbers = load_weights(folder, memory_bytes=PLENTY).holding.size_bytes // 4
    held = load_weights(folder, memory_bytes=numbers * 6)
    assert not held.holding.dequantized
    assert mx.all(mx.isfinite(logits(held.model))).item(), "MLX has no experts in 16 bits on a CPU"


def test_every_array_may_be_used_by_another_thread(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = write_model(tmp_path / "model", "llama")
    with ThreadPoolExecutor(1) as pool:
        weights = pool.submit(load_weights, folder).result()
    assert mx.all(mx.isfinite(logits(weights.model))).item()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 64),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-999]),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "qwen3"}'),
    ],
    ids=["missing", "zeros", "cut off", "config is not JSON", "config lacks sizes"],
)
def test_damaged_weights_are_told(tmp_path: Path, damage: Any) -> None:
    folder = write_model(tmp_path / "model")
    damage(folder)
    with pytest.raises(WeightsUnreadable) as caught:
        load_weights(folder)
    assert caught.value.where == str(folder)


def test_weights_of_another_configuration_are_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(WeightsUnreadable, match="Missing") as caught:
        load_weights(folder)
    assert "damaged" not in str(caught.value.hint), "nothing is"
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen33"}))
    with pytest.raises(UnsupportedArchitecture):
        load_weights(folder)


@pytest.mark.parametrize("quantization", [None, INT4])
def test_a_body_is_loaded_without_a_head_and_with_one(tmp_path: Path, quantization: Any) -> None:
    more = {"architectures": ["MistralModel"]}
    folder = write_model(tmp_path / "model", "mistral", quantization=quantization, more=more)
    whole = load_weights(folder).model
    assert "lm_head" in whole
    weights: Any = mx.load(str(folder / "model.safetensors"))
    body = {name: array for name, array in weights.items() if not name.startswith("lm_head.")}
    mx.eval(body)
    mx.save_safetensors(str(folder / "model.safetensors"), body, metadata={"format": "mlx"})
    alone = load_weights(folder).model
    assert "lm_head" not in alone
    tokens = mx.array([[5, 7, 11]])
    assert mx.array_equal(alone.model(tokens), whole.model(tokens))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MistralForCausalLM"]}))
    with pytest.raises(WeightsUnreadable, match="Missing"):
        load_weights(folder)


def test_python_in_a_model_folder_is_not_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_file": "own.py"}))
    (folder / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(WeightsUnreadable, match=r"own\.py"):
        load_weights(folder)


def test_the_machine_has_some_memory() -> None:
    assert 1 << 20 < available_bytes() < 1 << 50
