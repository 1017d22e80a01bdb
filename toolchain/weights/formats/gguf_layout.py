"""The layout of GGUF tensors: MLX's quantized matrices if the blocks can be converted, else plain numbers.

Tests beside the decoder measure which types can be: MLX has an affine form for every type whose groups have
32 numbers or more. Loads neither MLX nor weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.core.lock import LockedTensor
from mlxbuild.toolchain.spec.resolved import QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.facts import scheme_to_json
from mlxbuild.toolchain.weights.formats.layout import Layout
from mlxbuild.toolchain.weights.reading import SourceTensor

GROUP_SIZE: Final = 32
PLAIN: Final = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
"""Types that are not quantized, with their safetensors dtypes."""


@dataclass(frozen=True, slots=True)
class MlxForm:
    """How MLX represents the blocks of a type."""

    mode: str
    bits: int
    scales: str
    """The dtype of scales and biases, which holds them exactly."""
    is_exact: bool = True


FORMS: Final = {
    "Q4_0": MlxForm("affine", 4, "F16"),
    "Q4_1": MlxForm("affine", 4, "F16"),
    "Q5_0": MlxForm("affine", 5, "F16"),
    "Q5_1": MlxForm("affine", 5, "F16"),
    "Q8_0": MlxForm("affine", 8, "F16"),
    "Q4_K": MlxForm("affine", 4, "F32"),
    "Q5_K": MlxForm("affine", 5, "F32"),
    "Q6_K": MlxForm("affine", 8, "F16", is_exact=False),
    "MXFP4": MlxForm("mxfp4", 4, "U8"),
}
"""Types that stay quantized. Q6_K has a scale per 16 numbers, which MLX does not support; its numbers are put on an
8-bit grid, which adds half a percent to their error."""

_EMBEDDINGS: Final = "model.embed_tokens"
"""Rows of embeddings have the dtype of their scales: float16 would round each number, and some architectures (Gemma
3's) then compute all layers in float16. So their scales are float32, like the norms in such files."""

_NARROW: Final = {"float16": "F16", "bfloat16": "BF16"}

ROUNDED: Final = frozenset(
    {"Q2_K", "Q3_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"}
    | {"TQ1_0", "TQ2_0", "NVFP4"}
)
"""Types that can only be read as numbers, and are then quantized a second time."""


class UnsuitableGguf(UserError):
    """A GGUF file has tensors of a type that cannot be used as the recipe asks."""

    code = "unsuitable-gguf"


def gguf_layout(
    spec: ResolvedSpec, tensors: Sequence[LockedTensor], digests: Mapping[str, Digest], config: Mapping[str, Any]
) -> Layout:
    """The layout of a GGUF file.

    Args:
        spec: The variant, which decides whether the blocks are kept.
        tensors: The file's tensors under the model's names.
        digests: Digests of the files by path.
        config: The derived config.json.

    Raises:
        UnsuitableGguf: a tensor's type has no form in MLX, or cannot be read at all.
    """
    keeps = spec.quantization.keeps
    table: list[DecodedTensor] = []
    schemes: dict[str, QuantizationScheme] = {}
    for tensor in tensors:
        form = FORMS.get(tensor.dtype)
        if keeps and form is not None and len(tensor.shape) > 1 and tensor.name.endswith(".weight"):
            module = tensor.name.removesuffix(".weight")
            schemes[module] = QuantizationScheme(form.mode, form.bits, GROUP_SIZE)  # type: ignore[arg-type]
            scales = _scales_dtype(module, form, spec.dtype)
            table += _packed(tensor, module, form, scales, digests[tensor.file])
        elif tensor.dtype in PLAIN or tensor.dtype in FORMS or (tensor.dtype in ROUNDED and not keeps):
            # Subtracting the offset in 16 bits would round.
            dtype = "F32" if tensor.offset else PLAIN.get(tensor.dtype, "F32")
            table.append(_decoded(tensor, tensor.name, dtype, tensor.shape, "gguf-numbers", digests[tensor.file]))
        else:
            raise _unsuitable(tensor)
    compute = spec.dtype or _widest(table)
    return Layout(tuple(table), _configuration(config, schemes, compute), compute)


def second_rounding(spec: ResolvedSpec, tensors: Sequence[LockedTensor]) -> str | None:
    """The type of quantized tensors that a variant quantizes a second time, for a warning; None if there are none."""
    overrides = any(scheme is not None for _, scheme in spec.quantization.overrides)
    if spec.quantization.scheme is None and not overrides:
        return None
    types = Counter(tensor.dtype for tensor in tensors if tensor.dtype not in PLAIN)
    return types.most_common(1)[0][0] if types else None


def _scales_dtype(module: str, form: MlxForm, wanted: str | None) -> str:
    """The dtype of scales and biases: one that holds them exactly, or the one that the variant casts to."""
    if form.mode == "affine" and wanted in _NARROW:
        return _NARROW[wanted]
    return "F32" if module == _EMBEDDINGS and form.scales == "F16" else form.scales


def _packed(tensor: LockedTensor, module: str, form: MlxForm, scales: str, file: Digest) -> list[DecodedTensor]:
    *rows, columns = tensor.shape
    groups = (*rows, columns // GROUP_SIZE)
    parts = [
        _decoded(tensor, f"{module}.weight", "U32", (*rows, columns * form.bits // 32), "gguf-weight", file),
        _decoded(tensor, f"{module}.scales", scales, groups, "gguf-scales", file),
    ]
    if form.mode == "affine":
        parts.append(_decoded(tensor, f"{module}.biases", scales, groups, "gguf-biases", file))
    return parts


def _decoded(
    tensor: LockedTensor, name: str, dtype: str, shape: tuple[int, ...], method: str, file: Digest
) -> DecodedTensor:
    rows = 1
    for length in tensor.shape[:-1] if len(tensor.shape) > 1 else tensor.shape:
        rows *= length
    blocks = SourceTensor(tensor.name, "U8", (rows, tensor.size_bytes // rows), file, tensor.begin, tensor.size_bytes)
    parameters: dict[str, Any] = {"type": tensor.dtype}
    if tensor.permuted_heads is not None:
        parameters["permuted_heads"] = tensor.permuted_heads
    if tensor.offset:
        parameters["offset"] = tensor.offset
    return DecodedTensor(name, dtype, shape, method, parameters, {"blocks": blocks})


def _widest(table: Sequence[DecodedTensor]) -> str:
    """The compute dtype: one float32 vector makes everything after it float32, and norms always are float32 in GGUF."""
    dtypes = {tensor.dtype for tensor in table}
    return "float32" if "F32" in dtypes or {"F16", "BF16"} <= dtypes else "bfloat16" if "BF16" in dtypes else "float16"


def _configuration(
    config: Mapping[str, Any], schemes: Mapping[str, QuantizationScheme], compute: str
) -> Mapping[str, Any]:
    """The config.json of the model, as mlx-lm writes it for a quantized model."""
    described: dict[str, Any] = {**config, "torch_dtype": compute}
    if schemes:
        common = Counter(schemes[module] for module in sorted(schemes)).most_common(1)[0][0]
        entry: dict[str, Any] = scheme_to_json(common)
        entry |= {module: scheme_to_json(scheme) for module, scheme in schemes.items() if scheme != common}
        described["quantization"] = described["quantization_config"] = entry
    return described


def _unsuitable(tensor: LockedTensor) -> UnsuitableGguf:
    if tensor.dtype in ROUNDED:
        return UnsuitableGguf(
            f"`{tensor.name}` is of type {tensor.dtype}, for which MLX has no form that holds the same numbers",
            where=tensor.file,
            hint="use a file of Q4_K_M, Q5_K_M or Q8_0; or set `quantization: int4`, which rounds a second time",
        )
    return UnsuitableGguf(
        f"`{tensor.name}` is of type {tensor.dtype}, which is not a type of weights",
        where=tensor.file,
        hint="use another file of the model, such as Q4_K_M or Q8_0",
    )
