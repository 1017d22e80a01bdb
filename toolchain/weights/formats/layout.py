"""What the tensors of a source become, from its configuration and tensor table alone. Loads neither MLX nor weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from toolchain.spec.resolved import ResolvedSpec
from toolchain.weights.decoded import DecodedTensor, ModelTensor
from toolchain.weights.reading import SourceTensor

ReadDocument = Callable[[str], Mapping[str, Any] | None]
"""Gives a JSON object of the source by path, such as `config.json`; None where there is none."""


_SAFETENSORS_DTYPES: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's tensor table, and the configuration that goes with it."""

    tensors: tuple[ModelTensor, ...]
    config: Mapping[str, Any] | None = None
    """None where the source's config.json fits as it is."""


def layout_of(spec: ResolvedSpec, tensors: Sequence[SourceTensor], document: ReadDocument) -> Layout:
    """The layout of a source. Documents are read only where the table shows that another tool has packed weights.

    Args:
        spec: The variant: whether its weights stay quantized, and to which dtype it casts.
        tensors: What the files hold, sorted by name.
        document: Reads the source's config.json and others.
    """
    if not any(tensor.dtype == "F8_E4M3" for tensor in tensors):
        return Layout(tuple(tensors))
    config = document("config.json") or {}
    if config.get("quantization") is not None or config.get("quantization_config") is not None:
        return Layout(tuple(tensors))
    return Layout(tuple(_plain(tensor, spec) for tensor in tensors))


def _plain(tensor: SourceTensor, spec: ResolvedSpec) -> ModelTensor:
    if tensor.dtype != "F8_E4M3":
        return tensor
    dtype = _SAFETENSORS_DTYPES[spec.dtype or "bfloat16"]
    return DecodedTensor(tensor.name, dtype, tensor.shape, "fp8-plain", {}, {"weight": tensor})
