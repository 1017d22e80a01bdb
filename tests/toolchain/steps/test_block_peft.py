"""Adapters of PEFT come out of a block as PEFT merges them, byte for byte, whatever is done with the weights then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.spec.resolved import Adapter as AdapterOfRecipe
from mlxbuild.toolchain.spec.resolved import FolderSource, Quantization
from mlxbuild.toolchain.weights.adapters import UnusableAdapter
from mlxbuild.toolchain.weights.origin import NotFiniteWeights
from mlxbuild.toolchain.weights.peft.configuration import UnsupportedAdapter
from mlxbuild.toolchain.weights.plan import UnusableSource
from tests.toolchain.weights.block_builds import INT4, NONE, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads
from tests.toolchain.weights.peft_adapters import PREFIX, Adapter, load, merge_and_unload
from tests.toolchain.weights.tiny_models import write_model

LAYER = "model.layers.{}.self_attn.{}_proj"
Q0, V0, Q2, DOWN1 = LAYER.format(0, "q"), LAYER.format(0, "v"), LAYER.format(2, "q"), "model.layers.1.mlp.down_proj"

CASES: Mapping[str, tuple[str, Adapter]] = {
    "llama": ("llama", Adapter({Q0: 4, V0: 4, Q2: 4, DOWN1: 4})),
    "rank 1": ("qwen3", Adapter({Q0: 1, DOWN1: 1}, {"r": 1, "lora_alpha": 3})),
    "rank 8 in bfloat16": ("qwen3", Adapter({Q0: 8}, {"r": 8, "lora_alpha": 24}, dtype=mx.bfloat16)),
    "rank-stabilized": ("qwen3", Adapter({Q0: 6, Q2: 6}, {"r": 6, "lora_alpha": 5, "use_rslora": True})),
    "patterns": (
        "llama",
        Adapter(
            {Q0: 4, V0: 2, Q2: 8, DOWN1: 3},
            {
                "rank_pattern": {"v_proj": 2, r"^model\.layers\.2\..*q_proj": 8, "layers.1.mlp.(up|down)_proj": 3},
                "alpha_pattern": {"model.layers.0.self_attn.q_proj": 2, "down_proj": 0.5},
            },
        ),
    ),
    "modules to save": (
        "llama",
        Adapter(
            {Q0: 4},
            {"modules_to_save": ["lm_head", "norm", "layers.1.mlp"]},
            whole=("lm_head.weight", "model.norm.weight", f"{DOWN1}.weight"),
        ),
    ),
    "embedding and head": (
        "llama",
        Adapter(
            {"lm_head": 4},
            {"target_modules": ["embed_tokens", "lm_head"]},
            embeddings={"model.embed_tokens": 4},
            whole=("model.embed_tokens.base_layer.weight", "lm_head.base_layer.weight"),
        ),
    ),
    "fused layers": ("phi3", Adapter({LAYER.format(1, "qkv"): 4, "model.layers.0.mlp.gate_up_proj": 4})),
    "experts": ("mixtral", Adapter({"model.layers.0.block_sparse_moe.experts.1.w2": 4, Q0: 4})),
}


def adapted(base: Path, *factors: float, quantization: Quantization = NONE, **fields: Any) -> Any:
    adapters = tuple(AdapterOfRecipe(FolderSource(base, "."), factor) for factor in factors)
    return variant(base, quantization, adapters=adapters, **fields)


def built(store: Store, base: Path, adapters: list[Path], spec: Any) -> Mapping[str, Mapping[str, Blob]]:
    return BlockBuild(store, base, spec, adapters, slice_bytes=4096).run()


@pytest.mark.parametrize("quantization", [NONE, INT4], ids=lambda quantization: quantization.label)
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_the_merged_model(
    case: str, quantization: Quantization, store: Store, tmp_path: Path
) -> None:
    family, adapter = CASES[case]
    base = write_model(tmp_path / "base", family)
    written = adapter.write(tmp_path / "adapter", load(base))
    merged = merge_and_unload(base, written, tmp_path / "merged")
    spec = adapted(base, 1.0, quantization=quantization)
    expected = built(store, merged, [], variant(merged, quantization))
    assert built(store, base, [written], spec) == expected
    assert built(store, base, [], variant(base, quantization)) != expected


def test_adapters_are_merged_in_order_scaled_and_cast(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    first = Adapter({Q0: 4, Q2: 4}).write(tmp_path / "first", load(base))
    second = Adapter({Q0: 4}, {"modules_to_save": ["norm"]}, whole=("model.norm.weight",), seed=2)
    second_written = second.write(tmp_path / "second", load(base))
    once = merge_and_unload(base, first, tmp_path / "once", factor=0.5)
    twice = merge_and_unload(once, second_written, tmp_path / "twice", factor=3.0)
    spec = adapted(base, 0.5, 3.0, dtype="float16", quantization=INT4)
    expected = built(store, twice, [], variant(twice, INT4, dtype="float16"))
    assert built(store, base, [first, second_written], spec) == expected


def test_layers_that_are_stored_columns_first(store: Store, tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "n_ctx": 64, "n_embd": 64, "n_head": 2, "n_layer": 2, "n_positions": 64}
    config |= {"layer_norm_epsilon": 1e-5, "vocab_size": 96, "tie_word_embeddings": True}
    shapes = {"wte.weight": (96, 64), "wpe.weight": (64, 64), "ln_f.weight": (64,), "ln_f.bias": (64,)}
    for layer in range(2):
        for name, rows, columns in (
            ("attn.c_attn", 64, 192),
            ("attn.c_proj", 64, 64),
            ("mlp.c_fc", 64, 256),
            ("mlp.c_proj", 256, 64),
        ):
            shapes[f"h.{layer}.{name}.weight"], shapes[f"h.{layer}.{name}.bias"] = (rows, columns), (columns,)
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{layer}.{name}.weight"] = shapes[f"h.{layer}.{name}.bias"] = (64,)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(config))
    tensors = {name: mx.random.normal(shape, key=mx.random.key(len(name))) for name, shape in shapes.items()}
    mx.save_safetensors(str(base / "model.safetensors"), tensors)
    adapter = Adapter(
        {"transformer.h.0.attn.c_attn": 4, "transformer.h.0.attn.c_proj": 4, "transformer.h.1.mlp.c_fc": 4},
        {"fan_in_fan_out": True},
        columns_first=True,
    )

    def name_of(name: str) -> str:
        return name.removeprefix("transformer.")

    written = adapter.write(tmp_path / "adapter", load(base), name_of)
    merged = merge_and_unload(base, written, tmp_path / "merged", name_of=name_of)
    assert built(store, base, [written], adapted(base, 1.0)) == built(store, merged, [], variant(merged))


def test_any_numbers_give_the_answers_of_the_merged_model(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3", dtype=mx.float32)
    written = Adapter({Q0: 4, DOWN1: 4}).write(tmp_path / "adapter", load(base))
    tensors = mx.load(f"{written}/adapter_model.safetensors")
    noise = {name: array + 0.1 * mx.random.normal(array.shape, key=mx.random.key(3)) for name, array in tensors.items()}  # type: ignore[union-attr]
    mx.save_safetensors(f"{written}/adapter_model.safetensors", noise)
    merged = merge_and_unload(base, written, tmp_path / "merged")
    ours = BlockBuild(store, base, adapted(base, 1.0), [written]).assemble(tmp_path / "built")
    assert_loads(ours)
    tokens = mx.array([[1, 5, 9, 20, 3]])
    logits = [np.array(submodule("utils").load_model(folder)[0](tokens)) for folder in (base, merged, ours)]
    assert np.abs(logits[0] - logits[1]).max() > 0.03
    np.testing.assert_allclose(logits[2], logits[1], rtol=1e-4, atol=1e-4)


def test_an_adapter_touches_the_keys_of_its_blocks_alone(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    written = Adapter({Q0: 4}).write(tmp_path / "adapter", load(base))
    plain = BlockBuild(store, base, variant(base)).plan().blocks
    touched = BlockBuild(store, base, adapted(base, 1.0), [written]).plan().blocks
    assert [one.label for one, other in zip(plain, touched, strict=True) if one != other] == ["000"]


def refusal(store: Store, base: Path, written: Path, spec: Any = None) -> str:
    with pytest.raises((UnsupportedAdapter, UnusableSource)) as caught:
        BlockBuild(store, base, spec or adapted(base, 1.0), [written]).plan()
    return caught.value.diagnostics()


@pytest.mark.parametrize(
    ("family", "adapter", "message"),
    [
        ("llama", Adapter({Q0: 4}, {"r": 8}), "says rank 8"),
        ("qwen3", Adapter({Q0: 4}, {"modules_to_save": ["embed_tokens"]}, whole=("model.embed_tokens.weight",)),
         "uses both as embedding and as head"),
        ("qwen3", Adapter({}, embeddings={"model.embed_tokens": 4}), "uses both as embedding and as head"),
    ],
)  # fmt: skip
def test_what_does_not_map_onto_the_base_is_refused_before_weights_move(
    family: str, adapter: Adapter, message: str, store: Store, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "base", family)
    assert message in refusal(store, base, adapter.write(tmp_path / "adapter", load(base)))


def save(written: Path, tensors: Mapping[str, mx.array]) -> None:
    mx.save_safetensors(str(written / "adapter_model.safetensors"), {PREFIX + name: a for name, a in tensors.items()})


def test_modules_and_shapes_of_another_base_are_refused(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    config = {"modules_to_save": ["lm_head"]}
    written = Adapter({Q0: 4}, config).write(tmp_path / "adapter", load(base))
    a, b = mx.zeros((4, 128)), mx.zeros((128, 4))

    save(written, {f"{LAYER.format(7, 'q')}.lora_A.weight": a, f"{LAYER.format(7, 'q')}.lora_B.weight": b})
    told = refusal(store, base, written)
    assert "no tensor `model.layers.7.self_attn.q_proj.weight` for the adapter to change" in told
    assert "merge_and_unload" in told
    save(written, {f"{LAYER.format(0, 'k')}.lora_A.weight": a, f"{LAYER.format(0, 'k')}.lora_B.weight": b})
    assert "for `model.layers.0.self_attn.k_proj.weight`, which the base model has as [64, 128]" in refusal(
        store, base, written
    )
    save(written, {"lm_head.weight": mx.zeros((98, 128))})
    told = refusal(store, base, written)
    assert "stores `lm_head.weight` as [98, 128], which the base model has as [96, 128]" in told
    assert "vocabulary was enlarged" in told


def test_an_adapter_of_mlx_lm_comes_after_those_of_peft(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    peft = Adapter({Q0: 4}).write(tmp_path / "peft", load(base))
    native = tmp_path / "native"
    native.mkdir()
    (native / "adapter_config.json").write_text(json.dumps({"lora_parameters": {"scale": 2.0}}))
    halves = {"lora_a": mx.ones((128, 2)), "lora_b": mx.ones((2, 128))}
    mx.save_safetensors(str(native / "adapters.safetensors"), {f"{Q0}.{name}": half for name, half in halves.items()})
    spec = adapted(base, 1.0, 1.0)
    assert BlockBuild(store, base, spec, [peft, native]).run()
    with pytest.raises(UnusableSource, match="after one of mlx-lm"):
        BlockBuild(store, base, spec, [native, peft]).plan()


def test_a_base_that_is_quantized_already_is_refused(store: Store, tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain", "llama")
    base = BlockBuild(store, plain, variant(plain, INT4)).assemble(tmp_path / "base")
    written = Adapter({Q0: 4}).write(tmp_path / "adapter", load(plain))
    assert "`model.layers.0.self_attn.q_proj.weight`, which the base model holds packed or quantized" in refusal(
        store, base, written
    )


def test_numbers_that_are_none_are_told_with_their_tensor(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    written = Adapter({Q0: 4}).write(tmp_path / "adapter", load(base))
    half = f"{Q0}.lora_B.weight"
    save(written, {f"{Q0}.lora_A.weight": mx.ones((4, 128)), half: mx.full((128, 4), mx.nan)})
    for quantization in (NONE, INT4):
        with pytest.raises(NotFiniteWeights) as caught:
            built(store, base, [written], adapted(base, 1.0, quantization=quantization))
        assert caught.value.message == f"`{PREFIX}{half}` holds NaN or infinity"
        assert caught.value.where == str(written / "adapter_model.safetensors")
    huge = mx.full((128, 4), 3e38)
    save(written, {f"{Q0}.lora_A.weight": mx.ones((4, 128)), half: huge})
    with pytest.raises(NotFiniteWeights, match=r"computing `.*q_proj\.weight` gave NaN or infinity"):
        built(store, base, [written], adapted(base, 1.0))


def test_work_that_the_architecture_would_drop_is_refused(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    config = json.loads((base / "config.json").read_text())
    del config["tie_word_embeddings"]  # mlx-lm ties them then, and drops the head
    (base / "config.json").write_text(json.dumps(config))
    written = Adapter({"lm_head": 4}).write(tmp_path / "adapter", load(base))
    with pytest.raises(UnusableAdapter, match=r"changes `lm_head\.weight`, which mlx-lm's architecture leaves out"):
        built(store, base, [written], adapted(base, 1.0))
