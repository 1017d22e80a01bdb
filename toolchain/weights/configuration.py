"""Creates the final config.json and the index of the shards from the facts of all blocks, without MLX."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlxbuild.toolchain.spec.resolved import Quantization, QuantizationScheme
from mlxbuild.toolchain.weights.facts import BlockFacts, scheme_to_json
from mlxbuild.toolchain.weights.formats.entry import spelled_out
from mlxbuild.toolchain.weights.model import is_ternary
from mlxbuild.toolchain.weights.writer import StoredTensor

_DTYPE_KEYS: Final = ("dtype", "torch_dtype")
_VISION_TOWER: Final = "model.vision_tower."


def final_configuration(
    source: bytes, blocks: Sequence[BlockFacts], quantization: Quantization, dtype: str | None
) -> bytes:
    """The artifact's config.json, in the form that mlx-lm writes and reads (`mlx_lm.utils.save_config`, `load_model`).

    `quantization` holds the scheme of the variant and, by module path, every scheme that differs from it; modules
    that are not listed and have no scales are loaded unquantized. A source that MLX has quantized keeps its own.

    Args:
        source: The base model's config.json.
        blocks: The facts of all blocks.
        quantization: Quantization of the variant.
        dtype: Dtype that the variant casts to, or None.
    """
    config = json.loads(source)
    config.pop("_name_or_path", None)
    names = (tensor.name for facts in blocks for tensors in facts.shards.values() for tensor in tensors)
    if not any(name.startswith(_VISION_TOWER) for name in names):
        config.pop("vision_config", None)
    if dtype is not None:
        _set_dtype(config, dtype)
    if config.get("quantization") is not None:
        _spell_out(config)
    elif not is_ternary(config):
        # Weights that another tool had packed have been unpacked.
        config.pop("quantization_config", None)
        if isinstance(config.get("text_config"), dict):
            config["text_config"].pop("quantization_config", None)
    schemes = {path: scheme for facts in blocks for path, scheme in facts.quantized.items()}
    if schemes:
        config["quantization"] = _quantization_entry(schemes, quantization.scheme)
        config["quantization_config"] = config["quantization"]
    return _text(config)


def shard_index(shards: Mapping[str, Sequence[StoredTensor]], parameters: int) -> bytes:
    """The content of `model.safetensors.index.json`.

    Args:
        shards: Final file name to its tensors.
        parameters: Number of parameters before quantizing, over all blocks.
    """
    total_size = sum(tensor.size_bytes for tensors in shards.values() for tensor in tensors)
    return _text(
        {
            "metadata": {"total_size": total_size, "total_parameters": parameters},
            "weight_map": {tensor.name: file for file, tensors in shards.items() for tensor in tensors},
        }
    )


def _quantization_entry(schemes: Mapping[str, QuantizationScheme], wanted: QuantizationScheme | None) -> dict[str, Any]:
    # Loaders need a default scheme even if a recipe only quantizes single modules.
    common = wanted or Counter(schemes[path] for path in sorted(schemes)).most_common(1)[0][0]
    entry: dict[str, Any] = scheme_to_json(common)
    entry |= {path: scheme_to_json(scheme) for path, scheme in schemes.items() if scheme != common}
    return entry


def _spell_out(config: dict[str, Any]) -> None:
    spelled = spelled_out(config["quantization"])
    if spelled != config["quantization"]:
        config["quantization"] = config["quantization_config"] = spelled


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for key in _DTYPE_KEYS:
            if key in part:
                part[key] = dtype
    if not any(key in config for key in _DTYPE_KEYS):
        config["torch_dtype"] = dtype


def _text(content: Any) -> bytes:
    return (json.dumps(_tagged(content), sort_keys=True, indent=2, allow_nan=False) + "\n").encode()


def _tagged(value: Any) -> Any:
    """Infinities and NaN as transformers and mlx-lm encode them, so that the file is valid JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    return value
