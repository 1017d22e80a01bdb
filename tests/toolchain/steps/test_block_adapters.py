"""LoRA adapters come out of a block as `mlx_lm.fuse` fuses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.spec.resolved import Adapter, FolderSource, Quantization
from mlxbuild.toolchain.weights.adapters import UnusableAdapter
from mlxbuild.toolchain.weights.plan import UnusableSource
from tests.toolchain.weights.block_builds import INT4, NONE, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_loads, assert_same
from tests.toolchain.weights.tiny_models import write_model

KEYS = {
    "qwen3": ["self_attn.q_proj", "mlp.down_proj"],
    "qwen3_moe": ["self_attn.v_proj", "mlp.switch_mlp.gate_proj"],
}


def write_adapter(folder: Path, base: Path, keys: list[str], *, layers: int = 2, seed: int = 1) -> Path:
    """An adapter as `mlx_lm.lora` leaves it, with random numbers."""
    settings: dict[str, Any] = {"rank": 4, "scale": 2.5, "dropout": 0.0, "keys": keys}
    model, _ = submodule("utils").load_model(base)
    submodule("tuner.utils").linear_to_lora_layers(model, layers, settings)
    names = {n: v.shape for n, v in tree_flatten(model.parameters()) if n.endswith(("lora_a", "lora_b"))}
    keys_ = mx.random.split(mx.random.key(seed), len(names))
    tensors = {
        name: mx.random.normal(shape, key=key) * 0.1 for (name, shape), key in zip(names.items(), keys_, strict=True)
    }
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def fused_by_mlx_lm(base: Path, adapters: list[Path], quantization: Quantization) -> dict[str, mx.array]:
    utils = submodule("utils")
    model, config = utils.load_model(base)
    for adapter in adapters:
        model = utils.load_adapters(model, str(adapter))
        fused = [(name, module.fuse()) for name, module in model.named_modules() if hasattr(module, "fuse")]
        model.update_modules(tree_unflatten(fused))
    if quantization.scheme is not None:
        scheme = quantization.scheme
        model, _ = utils.quantize_model(model, config, scheme.group_size, scheme.bits, mode=scheme.mode)
    return dict(tree_flatten(model.parameters()))


def adapted(base: Path, count: int, quantization: Quantization, scale: float = 1.0) -> Any:
    source = FolderSource(base, ".")
    return variant(base, quantization, adapters=tuple(Adapter(source, scale) for _ in range(count)))


@pytest.mark.parametrize("family", sorted(KEYS))
@pytest.mark.parametrize("quantization", [NONE, INT4], ids=lambda quantization: quantization.label)
def test_adapters_are_fused_in_order_as_mlx_lm_fuses(
    family: str, quantization: Quantization, store: Store, tmp_path: Path
) -> None:
    base = write_model(tmp_path / "base", family)
    adapters = [
        write_adapter(tmp_path / "one", base, KEYS[family], seed=1),
        write_adapter(tmp_path / "two", base, KEYS[family][:1], layers=3, seed=2),
    ]
    build = BlockBuild(store, base, adapted(base, 2, quantization), adapters, slice_bytes=4096)
    built = build.assemble(tmp_path / "built")
    assert_same(built, fused_by_mlx_lm(base, adapters, quantization))
    assert_loads(built)


def test_an_adapter_touches_the_keys_of_its_layers_alone(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    adapter = write_adapter(tmp_path / "adapter", base, KEYS["qwen3"], layers=1)
    plain = BlockBuild(store, base, variant(base, NONE)).run()
    fused = BlockBuild(store, base, adapted(base, 1, NONE), [adapter]).run()
    assert {label for label in plain if plain[label] != fused[label]} == {"002"}


def test_the_recipe_can_scale_an_adapter(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    adapter = write_adapter(tmp_path / "adapter", base, KEYS["qwen3"])
    built = BlockBuild(store, base, adapted(base, 1, NONE, 0.5), [adapter]).assemble(tmp_path / "built")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["lora_parameters"]["scale"] *= 0.5
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert_same(built, fused_by_mlx_lm(base, [adapter], NONE))


def save(adapter: Path, tensors: dict[str, mx.array]) -> None:
    mx.save_safetensors(str(adapter / "adapters.safetensors"), tensors)


def test_adapters_that_do_not_fit_are_refused_with_the_reason(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    adapter = write_adapter(tmp_path / "adapter", base, KEYS["qwen3"])
    build = BlockBuild(store, base, adapted(base, 1, NONE), [adapter])
    pair = {"lora_a": mx.ones((128, 4)), "lora_b": mx.ones((4, 128))}

    save(adapter, {f"model.layers.0.self_attn.r_proj.{leaf}": array for leaf, array in pair.items()})
    with pytest.raises(UnusableAdapter, match=r"no module `model\.layers\.0\.self_attn\.r_proj`"):
        build.run()
    save(adapter, {f"model.layers.0.self_attn.k_proj.{leaf}": array for leaf, array in pair.items()})
    with pytest.raises(UnusableAdapter, match=r"does not fit `model\.layers\.0\.self_attn\.k_proj`"):
        build.run()
    save(adapter, {f"model.layers.0.input_layernorm.{leaf}": array for leaf, array in pair.items()})
    with pytest.raises(UnusableAdapter, match="RMSNorm, which takes no LoRA adapter"):
        build.run()
    save(adapter, {"model.layers.0.self_attn.q_proj.lora_a": pair["lora_a"]})
    with pytest.raises(UnusableAdapter, match="not half of a LoRA pair"):
        build.run()
    save(adapter, {f"model.layers.7.self_attn.q_proj.{leaf}": array for leaf, array in pair.items()})
    with pytest.raises(UnusableSource, match="belongs to no layer"):
        build.run()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fine_tune_type": "dora", "lora_parameters": {"scale": 1.0}}, "type `dora`"),
        ({"fine_tune_type": "lora", "lora_parameters": {"alpha": 1.0}}, "lora_parameters.scale"),
        ({"peft_type": "LORA", "r": 8}, "lora_parameters.scale"),
        ([], "lora_parameters.scale"),
    ],
)
def test_adapters_of_another_form_are_refused(config: Any, message: str, store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    adapter = write_adapter(tmp_path / "adapter", base, KEYS["qwen3"])
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UnusableAdapter, match=message):
        BlockBuild(store, base, adapted(base, 1, NONE), [adapter]).run()


def test_a_folder_without_an_adapter_is_refused(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "qwen3")
    with pytest.raises(UnusableSource, match=r"neither adapters\.safetensors nor adapter_model\.safetensors"):
        BlockBuild(store, base, adapted(base, 1, NONE), [base]).run()
