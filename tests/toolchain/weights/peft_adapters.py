"""Adapters as PEFT saves them, with random numbers, and what its published formula makes of them, in numpy."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

PREFIX = "base_model.model."

CONFIGURATION: Mapping[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
    "base_model_name_or_path": "acme/base", "bias": "none", "corda_config": None, "ensure_weight_tying": False,
    "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "layer_replication": None, "layers_pattern": None, "layers_to_transform": None,
    "loftq_config": {}, "lora_alpha": 8, "lora_bias": False, "lora_dropout": 0.05, "megatron_config": None,
    "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA", "peft_version": "0.18.0", "r": 4,
    "qalora_group_size": 16, "rank_pattern": {}, "revision": None, "target_modules": ["q_proj"],
    "target_parameters": None, "task_type": "CAUSAL_LM", "trainable_token_indices": None, "use_dora": False,
    "use_qalora": False, "use_rslora": False,
}  # fmt: skip
"""As PEFT 0.18 writes it."""


@dataclass(frozen=True)
class Adapter:
    """An adapter to write. Numbers are multiples of 1/16, so that every sum of products is exact in float32."""

    modules: Mapping[str, int]
    """Module of a linear layer to its rank."""
    config: Mapping[str, Any] = field(default_factory=dict)
    embeddings: Mapping[str, int] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    """Parameters that are stored whole."""
    columns_first: bool = False
    """Whether the checkpoint holds layers as (in, out)."""
    dtype: Any = mx.float32
    seed: int = 1

    def write(self, folder: Path, base: Mapping[str, mx.array], name_of: Any = str) -> Path:
        """Write it for a base with these tensors; `name_of` gives a parameter's name in the checkpoint."""
        folder.mkdir()
        mx.save_safetensors(str(folder / "adapter_model.safetensors"), self._tensors(base, name_of))
        (folder / "adapter_config.json").write_text(json.dumps({**CONFIGURATION, **self.config}))
        return folder

    def _tensors(self, base: Mapping[str, mx.array], name_of: Any) -> dict[str, mx.array]:
        random = np.random.default_rng(self.seed)

        def numbers(*shape: int) -> mx.array:
            return mx.array(random.integers(-8, 9, shape).astype(np.float32) / 16).astype(self.dtype)

        tensors = {}
        for module, rank in self.modules.items():
            rows, columns = base[name_of(f"{module}.weight")].shape[:: -1 if self.columns_first else 1]
            tensors[f"{PREFIX}{module}.lora_A.weight"] = numbers(rank, columns)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = numbers(rows, rank)
        for module, rank in self.embeddings.items():
            tokens, dimensions = base[name_of(f"{module}.weight")].shape
            tensors[f"{PREFIX}{module}.lora_embedding_A"] = numbers(rank, tokens)
            tensors[f"{PREFIX}{module}.lora_embedding_B"] = numbers(dimensions, rank)
        for name in self.whole:
            tensors[f"{PREFIX}{name}"] = numbers(*base[name_of(name.replace(".base_layer", ""))].shape)
        return tensors


def load(folder: Path) -> dict[str, mx.array]:
    """All tensors of a model's folder."""
    tensors: dict[str, mx.array] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= mx.load(str(file))  # type: ignore[arg-type]
    return tensors


def merge_and_unload(base: Path, adapter: Path, target: Path, *, factor: float = 1.0, name_of: Any = str) -> Path:
    """Write the merged model's folder, computed as `peft.tuners.lora.layer` does on a CPU."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    weights = load(base)
    tensors = {
        name.removeprefix(PREFIX): array for name, array in mx.load(f"{adapter}/adapter_model.safetensors").items()
    }  # type: ignore[union-attr]
    for name, array in tensors.items():
        if "lora_" not in name:
            own = name_of(name.replace(".base_layer", ""))
            weights[own] = array.astype(weights[own].dtype)
    for name in tensors:
        path, _, end = name.partition(".lora_")
        if end not in ("A.weight", "embedding_A"):
            continue
        is_embedding = end == "embedding_A"
        a = np.array(tensors[name].astype(mx.float32))
        b = np.array(tensors[name.replace("_A", "_B")].astype(mx.float32))
        rank = _by_pattern(config["rank_pattern"], path, config["r"])
        alpha = _by_pattern(config["alpha_pattern"], path, config["lora_alpha"])
        scaling = alpha / (math.sqrt(rank) if config["use_rslora"] else rank) * factor
        delta = (b @ a).T if is_embedding or config["fan_in_fan_out"] else b @ a
        own = name_of(f"{path}.weight")
        summed = np.array(weights[own].astype(mx.float32)) + delta * np.float32(scaling)
        weights[own] = mx.array(summed).astype(weights[own].dtype)
    target.mkdir()
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, target / file.name)
    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "pt"})
    return target


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
