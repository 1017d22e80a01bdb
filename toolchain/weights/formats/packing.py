"""The description of a source's packed weights, and what a variant does with them. Loads no MLX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.spec.resolved import QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.reading import SourceTensor

SAFETENSORS_DTYPES: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})


class UnsupportedQuantization(UserError):
    """A source's weights were quantized by another tool in a way that is not supported."""

    code = "unsupported-quantization"


@dataclass(frozen=True, slots=True)
class Packing:
    """A source's quantization, and what the variant does with it."""

    method: str | None
    """`quant_method` in config.json."""
    settings: Mapping[str, Any]
    """The whole `quantization_config`."""
    dense: bool
    """Whether weights are decoded to floats, because the variant does not keep them."""
    dtype: str
    """Dtype of decoded floats, as in a safetensors header."""
    casts: str | None = None
    """Dtype that the variant casts all floats to, or None."""

    @classmethod
    def of(cls, spec: ResolvedSpec, config: Mapping[str, Any], separate: Mapping[str, Any] | None) -> Packing:
        """The packing in a config.json; `separate` is a file beside it, used if config.json has no description."""
        text = config.get("text_config")
        texts = text if isinstance(text, dict) else {}
        found = config.get("quantization_config") or texts.get("quantization_config") or separate
        if found and not isinstance(found, dict):
            raise UnsupportedQuantization(
                f"`quantization_config` is a {type(found).__name__}, and a mapping is wanted",
                where="config.json",
                hint="use the config.json that belongs to these weights",
            )
        settings: Mapping[str, Any] = found or {}
        method = settings.get("quant_method")
        if method is None and settings and settings is separate:
            producer = settings.get("producer")
            method = producer.get("name") if isinstance(producer, dict) else "modelopt"
        named = spec.dtype or config.get("dtype") or config.get("torch_dtype") or texts.get("dtype")
        dtype = SAFETENSORS_DTYPES.get(named, "BF16") if isinstance(named, str) else "BF16"
        return cls(None if method is None else str(method), settings, not spec.quantization.keeps, dtype, spec.dtype)

    @property
    def groups(self) -> tuple[Mapping[str, Any], ...]:
        """compressed-tensors' description of the weights, once per group of modules."""
        found = self.settings.get("config_groups")
        groups = found.values() if isinstance(found, dict) else ()
        weights = (group.get("weights") for group in groups if isinstance(group, dict))
        return tuple(each for each in weights if isinstance(each, dict))


@dataclass(frozen=True, slots=True)
class RecognizedTensors:
    """What a family of formats makes of the tensors that it recognises."""

    tensors: tuple[ModelTensor, ...] = ()
    used: frozenset[str] = field(default=frozenset())
    """Names in the source that were processed or dropped."""
    schemes: Mapping[str, QuantizationScheme] = field(default_factory=dict)
    """Module path to the scheme that it keeps, unless all weights are decoded."""


def triple(
    module: str,
    scheme: QuantizationScheme,
    packing: Packing,
    weight: DecodedTensor,
    *others: DecodedTensor,
) -> tuple[DecodedTensor, ...]:
    """The `.weight`, `.scales` and optional `.biases` of a module, or the single dense `.weight` decoded from them."""
    inner = (weight, *others)
    if not packing.dense:
        return inner
    columns = weight.shape[-1] * 32 // scheme.bits
    parameters = {
        "mode": scheme.mode,
        "bits": scheme.bits,
        "group_size": scheme.group_size,
        "inner": {
            each.name.rpartition(".")[2]: {
                "dtype": each.dtype,
                "columns": each.shape[-1],
                "method": each.method,
                "parts": sorted(each.parts),
                "parameters": dict(each.parameters),
            }
            for each in inner
        },
    }
    parts = {part: stored for each in inner for part, stored in each.parts.items()}
    shape = (*weight.shape[:-1], columns)
    return (DecodedTensor(f"{module}.weight", packing.dtype, shape, "dequantized", parameters, parts),)


def group_of(columns: int, group_size: int) -> int | None:
    """MLX's group size for rows of some columns with groups of a size; None if there is none."""
    return next((each for each in (128, 64, 32) if group_size % each == 0 and columns % each == 0), None)


def modules_with(table: Iterable[str], leaf: str) -> list[str]:
    """The modules that have a tensor with that last name component, sorted."""
    return sorted(name.removesuffix(f".{leaf}") for name in table if name.endswith(f".{leaf}"))


def check_matrices(*tensors: SourceTensor) -> None:
    """Raise `UnsupportedQuantization` if one is not a non-empty matrix."""
    for tensor in tensors:
        if len(tensor.shape) < 2 or 0 in tensor.shape:
            raise misfit(tensor, "is not a matrix")


def misfit(tensor: SourceTensor, why: str) -> UnsupportedQuantization:
    """The error for a tensor that does not match its format."""
    return UnsupportedQuantization(
        f"`{tensor.name}` ({tensor.dtype}, shape {list(tensor.shape)}) {why}",
        hint="are all weight files of the model there, and does config.json belong to them?",
    )
