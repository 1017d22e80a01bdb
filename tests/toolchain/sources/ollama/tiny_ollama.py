"""Tiny models as Ollama's registry has them: in GGUF, and in tensors as `ollama create --experimental` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.ollama_registry import Layer, layer
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf

GO_TEMPLATE = b"{{ .System }}{{ .Prompt }}"
PARAMETERS = {"stop": ["</s>"], "temperature": 0.5, "num_ctx": 64, "num_predict": -1, "mirostat": 1}


def gguf_layers(folder: Path, *others: Layer, kinds: Iterable[str] = ("Q8_0",), **changes: Any) -> list[Layer]:
    """A llama of 1 MB with everything that a model of the library has."""
    data = tiny_gguf(folder / "made.gguf", kinds, **changes).read_bytes()
    return [
        layer("model", data),
        layer("template", GO_TEMPLATE),
        layer("system", b"Be brief."),
        layer("params", json.dumps(PARAMETERS).encode()),
        layer("messages", b'[{"role": "user", "content": "ab"}, {"role": "assistant", "content": "ba"}]'),
        layer("license", b"Apache License\nVersion 2.0, January 2004"),
        *others,
    ]


def tensor_layers(model: Path, folder: Path, mode: str = "affine", bits: int = 4, group_size: int = 32) -> list[Layer]:
    """The layers of a model folder whose matrices are quantized, each in a file of its own."""
    arrays: dict[str, mx.array] = {}
    for path in sorted(model.glob("*.safetensors")):
        arrays |= mx.load(str(path))  # type: ignore[arg-type]
    names = {"affine": {4: "int4", 8: "int8"}, "mxfp4": {4: "mxfp4"}}
    layers = []
    for name, array in sorted(arrays.items()):
        parts, metadata = {name: array}, {}
        if array.ndim == 2 and "embed" not in name and "lm_head" not in name:
            weight, scales, *biases = mx.quantize(array, group_size=group_size, bits=bits, mode=mode)
            parts = {name: weight, f"{name}.scale": scales} | ({f"{name}.bias": biases[0]} if biases else {})
            metadata = {"quant_type": names[mode][bits], "group_size": str(group_size)}
        path = folder / "part.safetensors"
        mx.save_safetensors(str(path), parts, metadata)
        layers.append(layer("tensor", path.read_bytes(), name))
    for path in sorted(model.glob("*.json")):
        layers.append(layer("json", path.read_bytes(), path.name))
    return layers
