"""Reads Ollama models in MLX's form: one safetensors file for each weight, with its scales and biases.

The files are written by https://github.com/ollama/ollama/tree/main/x/create. A file holds `NAME`, and if that is
quantized `NAME.scale` and `NAME.bias`; its metadata describes the quantization, per file or per tensor.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mlxbuild.toolchain.sources.ollama.manifest import UnsupportedOllamaModel
from mlxbuild.toolchain.sources.ollama.registry import Reader
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.facts import scheme_to_json
from mlxbuild.toolchain.weights.safetensors import HeaderTensor, read_header

_SCHEMES: Final = {
    "int4": QuantizationScheme("affine", 4, 64),
    "int8": QuantizationScheme("affine", 8, 64),
    "nvfp4": QuantizationScheme("nvfp4", 4, 16),
    "mxfp4": QuantizationScheme("mxfp4", 4, 32),
    "mxfp8": QuantizationScheme("mxfp8", 8, 32),
}
"""`quant_type` in the metadata to a scheme, whose group size applies if the metadata gives none."""
_NAMES: Final = {"q4": "int4", "q8": "int8", "fp4": "nvfp4", "fp8": "mxfp8", "affine": "int4"}
_COMPANIONS: Final = {".scale": "scales", ".bias": "biases"}
_GLOBAL = ".global_scale"


@dataclass(frozen=True, slots=True)
class TensorFile:
    """One file, with its tensors under their names in mlx-lm."""

    tensors: tuple[HeaderTensor, ...]
    schemes: Mapping[str, QuantizationScheme]
    """Module path to the quantization of its weight."""


def read_tensor_file(read: Reader, size_bytes: int, where: str) -> TensorFile:
    """Read the header of one file.

    Raises:
        UnsafeWeights: the header does not describe the file.
        UnsupportedOllamaModel: the quantization of a matrix is missing, or not supported by MLX's layers.
    """
    header = {tensor.name: tensor for tensor in read_header(read, size_bytes, where)}
    metadata = _metadata(read)
    tensors: list[HeaderTensor] = []
    schemes = {}
    for name, tensor in header.items():
        main = next((name.removesuffix(end) for end in _COMPANIONS if name.endswith(end)), None)
        if name.endswith(_GLOBAL):
            raise _unsupported(f"`{name}` is a scale of a whole tensor, which MLX's layers do not take", where)
        if main is not None and main in header:
            if f"{main}.scale" not in header:
                raise _unsupported(f"`{name}` has no scales beside it", where)
            continue
        tensors.append(tensor)
        if f"{name}.scale" in header:
            module = name.removesuffix(".weight")
            schemes[module] = _scheme(name, header, metadata, where)
            tensors += [
                replace(header[name + end], name=f"{module}.{ours}")
                for end, ours in _COMPANIONS.items()
                if name + end in header
            ]
    return TensorFile(tuple(tensors), schemes)


def with_quantization(config: Mapping[str, Any], files: Sequence[TensorFile]) -> dict[str, Any]:
    """The config.json with quantization in mlx-lm's form: the most common scheme, and the modules with another one."""
    schemes = {module: scheme for file in files for module, scheme in file.schemes.items()}
    left = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
    if not schemes:
        return left
    common = Counter(schemes[module] for module in sorted(schemes)).most_common(1)[0][0]
    entry: dict[str, Any] = scheme_to_json(common)
    entry |= {module: scheme_to_json(scheme) for module, scheme in sorted(schemes.items()) if scheme != common}
    return {**left, "quantization": entry, "quantization_config": entry}


def _metadata(read: Reader) -> Mapping[str, str]:
    """The metadata of a header whose tensor table was validated already."""
    length = int.from_bytes(read(0, 8), "little")
    found = json.loads(read(8, length)).get("__metadata__") or {}
    return {str(key): str(value) for key, value in found.items()}


def _scheme(
    name: str, header: Mapping[str, HeaderTensor], metadata: Mapping[str, str], where: str
) -> QuantizationScheme:
    written = (metadata.get(f"{name}.quant_type") or metadata.get("quant_type") or "").lower()
    scheme = _SCHEMES.get(_NAMES.get(written, written))
    if scheme is None:
        told = f"is quantized as `{written[:40]}`" if written else "is quantized, but the file does not say how"
        raise _unsupported(f"`{name}` {told}", where)
    group_size = metadata.get(f"{name}.group_size") or metadata.get("group_size") or ""
    if group_size.isdecimal():
        scheme = replace(scheme, group_size=int(group_size))
    columns = header[name].shape[-1] * 32 // scheme.bits
    fits = header[name].dtype == "U32" and header[f"{name}.scale"].shape[-1] * scheme.group_size == columns
    if not fits or (scheme.mode == "affine") != (f"{name}.bias" in header):
        raise _unsupported(f"`{name}` is not of the shape that `{written}` in groups of {scheme.group_size} has", where)
    return scheme


def _unsupported(message: str, where: str) -> UnsupportedOllamaModel:
    return UnsupportedOllamaModel(
        message, where=where, hint="use another tag of the model, or its checkpoint on the Hub"
    )
