"""Determines the layout of a source's weights from its configuration and tensor table, without MLX or weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.toolchain.spec.resolved import ArtifactSource, QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.facts import scheme_to_json
from mlxbuild.toolchain.weights.formats.fp8 import take_fp8
from mlxbuild.toolchain.weights.formats.gptq import take_gptq
from mlxbuild.toolchain.weights.formats.nvfp4 import take_nvfp4
from mlxbuild.toolchain.weights.formats.packed import MXFP4, take_packed
from mlxbuild.toolchain.weights.formats.packing import FLOATS, Packing, UnsupportedQuantization
from mlxbuild.toolchain.weights.reading import SourceTensor

ReadDocument = Callable[[str], Mapping[str, Any] | None]
"""Returns a JSON object of the source by path, such as `config.json`; None if there is none."""

_CONFIGURATION: Final = "config.json"
_SEPARATE: Final = {"hf_quant_config.json": None, "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files beside config.json that describe the quantization, and the method if they do not name it."""

_FAMILIES: Final = (take_nvfp4, take_gptq, take_packed, take_fp8)
"""The order matters: each family sees the tensors that those before it have left."""

_EXPERT: Final = re.compile(r"(\bexperts\.)[0-9]+\b")

_METHODS: Final = frozenset({"awq", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp8"})
_MXFP4: Final = "mxfp4"
"""The method of gpt-oss, whose blocks mlx-lm's code for the architecture converts itself."""
_BITNET: Final = "bitnet"

_IDLE: Final = frozenset(
    {"activation_scale", "input_global_scale", "input_scale", "input_zero_point", "k_scale", "output_scale"}
    | {"q_scale", "prob_output_scale", "qscale_act", "v_scale"}
)
"""Last name components of tensors that are only used when activations are quantized, too."""

_INTEGERS: Final = frozenset({"U8", "I8", "U16", "I16", "U32", "I32", "U64"})
_UNQUANTIZED: Final = "use the model in float16, bfloat16 or float32, or one that MLX has quantized"


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's tensor table, and the configuration that goes with it."""

    tensors: tuple[ModelTensor, ...]
    config: Mapping[str, Any] | None = None
    """None if the source's config.json fits."""
    compute: str | None = None
    """The dtype that MLX computes in and keeps the KV cache in, if single tensors make it wider than the weights."""


def layout_of(spec: ResolvedSpec, tensors: Sequence[SourceTensor], document: ReadDocument) -> Layout:
    """Determine the layout of a source. Documents are read only if the tensor table shows quantized weights.

    Args:
        spec: The variant, which decides whether its weights stay quantized, and to which dtype they are cast.
        tensors: The stored tensors, sorted by name.
        document: Reads the source's config.json and others.

    Raises:
        UnsupportedQuantization: weights are packed in an unsupported way, or as integers without a description.
    """
    table = {tensor.name: tensor for tensor in tensors}
    if not _looks_quantized(table) or (config := document(_CONFIGURATION)) is None:
        is_artifact = isinstance(spec.base, ArtifactSource)
        return Layout(tuple(tensors), compute=_compute_of_mlx(tensors, spec.dtype) if is_artifact else None)
    separate = _separate(table, document) if config.get("quantization_config") is None else None
    packing = Packing.of(spec, config, separate)
    entry = _entry_of_mlx(config, packing)
    if entry is not None or _is_quantized_by_mlx(table):
        return _of_mlx(table, config, entry, packing)
    if packing.method == _BITNET:
        _refuse_floats(packing)
        return Layout(tuple(table.values()))
    if packing.method not in (None, _MXFP4, *_METHODS):
        raise UnsupportedQuantization(
            f"the weights are quantized by `{packing.method}`, which is not supported",
            where=_CONFIGURATION,
            hint=_UNQUANTIZED,
        )
    if packing.method == _MXFP4:
        _refuse_floats(packing)
        return Layout(tuple(table.values()), _configured(config, {"": MXFP4}))
    if packing.settings.get("transform_config"):
        raise UnsupportedQuantization(
            f"the weights are quantized by `{packing.method}` with a `transform_config`: the model computes otherwise, "
            "such as with Hadamard matrices before its layers",
            where=_CONFIGURATION,
            hint=_UNQUANTIZED,
        )
    layout = _taken_over(table, config, packing)
    if spec.adapters and (layout.config or {}).get("quantization") is not None:
        raise UnsupportedQuantization(
            "the weights are quantized already, and an adapter can only be fused into floats",
            where=_CONFIGURATION,
            hint="use the unquantized model; one of mlx-lm can be fused with `quantization: bf16` or int8, too",
        )
    return layout


def _separate(table: Mapping[str, SourceTensor], document: ReadDocument) -> Mapping[str, Any] | None:
    """The description of the quantization in a file beside config.json, by ModelOpt, or older AutoGPTQ and AutoAWQ."""
    for path, method in _SEPARATE.items():
        found = document(path)
        if found is not None and method is None:
            return found
        if found is not None and any(name.endswith(".qweight") for name in table):
            return {"quant_method": method, **found}
    return None


def _looks_quantized(table: Mapping[str, SourceTensor]) -> bool:
    return any(tensor.dtype not in FLOATS and tensor.dtype != "I64" for tensor in table.values())


def _is_quantized_by_mlx(table: Mapping[str, SourceTensor]) -> bool:
    packed = (name.removesuffix(".weight") for name, tensor in table.items() if tensor.dtype == "U32")
    return any(f"{module}.scales" in table for module in packed)


def _entry_of_mlx(config: Mapping[str, Any], packing: Packing) -> Mapping[str, Any] | None:
    """MLX's own entry, even if a folder has it only as `quantization_config`."""
    entry = config.get("quantization")
    if isinstance(entry, dict):
        return entry
    return packing.settings if packing.method is None and packing.settings.get("bits") else None


def _of_mlx(
    table: Mapping[str, SourceTensor],
    config: Mapping[str, Any],
    entry: Mapping[str, Any] | None,
    packing: Packing,
) -> Layout:
    if entry is None:
        name = next(name for name in table if name.endswith(".scales"))
        raise UnsupportedQuantization(
            f"the weights are quantized (`{name}`), but config.json has no `quantization` that says how",
            where=_CONFIGURATION,
            hint="use the config.json that mlx-lm wrote beside them: it says `quantization: {group_size, bits}`",
        )
    named = config.get("quantization") is not None
    changed = None if named else {**config, "quantization": entry}
    return Layout(tuple(table.values()), changed, _compute_of_mlx(table.values(), packing.casts))


def _taken_over(table: Mapping[str, SourceTensor], config: Mapping[str, Any], packing: Packing) -> Layout:
    left = dict(table)
    tensors: list[ModelTensor] = []
    schemes: dict[str, QuantizationScheme] = {}
    for take in _FAMILIES:
        taken = take(left, packing)
        tensors += taken.tensors
        left = {name: tensor for name, tensor in left.items() if name not in taken.used}
        schemes |= taken.schemes
    if tensors:
        left = {name: tensor for name, tensor in left.items() if name.rpartition(".")[2] not in _IDLE}
    for name, tensor in left.items():
        is_matrix = packing.method is not None and len(tensor.shape) > 1
        if tensor.dtype in _INTEGERS and (name.endswith(".weight") or is_matrix):
            raise _unexplained(tensor, packing)
    if not tensors:
        return Layout(tuple(table.values()))
    compute = _compute([*left.values(), *tensors], packing)
    if packing.dense:
        schemes = {}
    _check_experts(schemes)
    return Layout((*left.values(), *tensors), _configured(config, schemes), compute)


def _check_experts(schemes: Mapping[str, QuantizationScheme]) -> None:
    """Check that the experts of a layer, which become one matrix, have the same scheme."""
    found: dict[str, QuantizationScheme] = {}
    for module, scheme in schemes.items():
        stack = _EXPERT.sub(r"\1*", module)
        if stack != module and found.setdefault(stack, scheme) != scheme:
            one, other = found[stack], scheme
            raise UnsupportedQuantization(
                f"the experts `{stack}` are quantized in more than one way ({one.mode}, {one.bits} bits in groups of "
                f"{one.group_size}; {other.mode}, {other.bits} bits in groups of {other.group_size})",
                hint="set `quantization: bf16`, which decodes them, or use a model with one way for all experts",
            )


def _compute(tensors: Sequence[ModelTensor], packing: Packing) -> str | None:
    """float32 if scales are, or if they have another 16-bit dtype than the other weights."""
    if packing.casts is not None:
        return None
    decoded = {tensor.dtype for tensor in tensors if isinstance(tensor, DecodedTensor)}
    weights = {tensor.dtype for tensor in tensors if tensor.name.endswith(".weight")}
    return "float32" if "F32" in decoded or {"F16", "BF16"} <= decoded | weights else None


def _compute_of_mlx(tensors: Iterable[SourceTensor], casts: str | None) -> str | None:
    """float32 if scales or norms are, as in artifacts built from GGUF files."""
    if casts is not None:
        return None
    wide = (tensor for tensor in tensors if tensor.dtype == "F32")
    is_wide = any(
        tensor.name.endswith(".scales") or (tensor.name.endswith("norm.weight") and len(tensor.shape) == 1)
        for tensor in wide
    )
    return "float32" if is_wide else None


def _configured(config: Mapping[str, Any], schemes: Mapping[str, QuantizationScheme]) -> Mapping[str, Any]:
    """The configuration without another tool's quantization entry, and with MLX's for modules that stay quantized."""
    changed = {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}
    text = changed.get("text_config")
    if isinstance(text, dict):
        changed["text_config"] = {key: value for key, value in text.items() if key != "quantization_config"}
    if schemes:
        ((common, _),) = Counter(schemes.values()).most_common(1)
        entry: dict[str, Any] = scheme_to_json(common)
        entry |= {module: scheme_to_json(scheme) for module, scheme in schemes.items() if scheme != common}
        changed["quantization"] = changed["quantization_config"] = entry
    return changed


def _refuse_floats(packing: Packing) -> None:
    if packing.dense:
        raise UnsupportedQuantization(
            f"the weights are quantized by `{packing.method}`, and can only stay so",
            where=_CONFIGURATION,
            hint="set `quantization: keep`, or use the unquantized model",
        )


def _unexplained(tensor: SourceTensor, packing: Packing) -> UnsupportedQuantization:
    what = f"`{tensor.name}` is stored as {tensor.dtype}, where a model computes with floats"
    if packing.method is None:
        return UnsupportedQuantization(
            f"{what}, and config.json has no `quantization_config` that says what the numbers mean",
            where=_CONFIGURATION,
            hint=f"use the config.json that belongs to these weights, or {_UNQUANTIZED}",
        )
    algorithm = packing.settings.get("quant_algo") or packing.settings.get("format")
    how = f"`{packing.method}`" + (f" ({algorithm})" if isinstance(algorithm, str) else "")
    return UnsupportedQuantization(
        f"{what}: the way of {how} to quantize cannot be taken over", where=_CONFIGURATION, hint=_UNQUANTIZED
    )
