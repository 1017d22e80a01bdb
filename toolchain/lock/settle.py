"""Settles the quantization of a variant once its base is known: weights may stay as the base has them quantized."""

from __future__ import annotations

from dataclasses import replace

from mlxbuild.registry.core.errors import Location, UserError
from mlxbuild.toolchain.core.lock import LockedSource, LockedTensor
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import KEEP, Quantization, ResolvedSpec

_PACKED_DTYPES = frozenset({"U8", "I8", "U32", "I32"})
_SCALES = (".scales", "_scales", ".weight_scale")
"""Suffixes of the scales of packed weights: in MLX, GPTQ and AWQ; for MXFP4; in compressed-tensors."""
_EXPONENTS = frozenset({"F8_E8M0", "U8"})
_EXPONENT_SCALES = ("_scale_inv", "_scale")
"""Suffixes that turn the name of an FP8 weight into that of its scale."""


class QuantizedBase(UserError):
    """A recipe asks to quantize weights that are already quantized."""

    code = "quantized-base"


def settle(spec: ResolvedSpec, base: LockedSource, recipe: Recipe | None = None) -> ResolvedSpec:
    """The spec with its quantization settled: `keep` if it does not set one and the base is quantized.

    Args:
        spec: A variant as its recipe gives it.
        base: Its locked base.
        recipe: The recipe it came from, for the error's location.

    Raises:
        QuantizedBase: the recipe wants other quantization, or none, for weights that MLX has already quantized.
    """
    if spec.kept_variant is not None and (base.gguf is not None or is_packed(base)):
        return replace(spec, variant=spec.kept_variant, quantization=Quantization(KEEP, None), kept_variant=None)
    if not spec.quantization.keeps and is_quantized_by_mlx(base):
        where = quantization_place(spec, recipe)
        message = f"`quantization: {spec.quantization.label}` asks for unquantized weights, but the base is quantized"
        if spec.quantization.scheme is not None:
            message = "the weights of the base are quantized already; quantizing again would round them twice"
        raise QuantizedBase(message, where=where, hint="set `quantization: keep`, or name the unquantized base")
    return replace(spec, kept_variant=None)


def is_quantized_by_mlx(base: LockedSource) -> bool:
    """Whether weights are stored as MLX quantizes them: 32-bit words with scales beside them."""
    names = {tensor.name for tensor in base.tensors}
    return any(
        tensor.dtype == "U32" and tensor.name.endswith(".weight") and f"{_stem(tensor)}.scales" in names
        for tensor in base.tensors
    )


def is_packed(base: LockedSource) -> bool:
    """Whether weights are packed with scales, by any tool, in a form that MLX can represent.

    These are integers, and FP8 with power-of-two scales (E8M0); FP8 with other scales is converted to floats.
    """
    dtypes = {tensor.name: tensor.dtype for tensor in base.tensors}
    return any(
        dtypes.get(f"{name}{end}") in _EXPONENTS for name in _eight_bits(base) for end in _EXPONENT_SCALES
    ) or any(
        tensor.dtype in _PACKED_DTYPES
        and len(tensor.shape) > 1
        and any(
            f"{stem}{scales}" in dtypes
            for stem in (_stem(tensor), tensor.name.removesuffix("_blocks"))
            for scales in _SCALES
        )
        for tensor in base.tensors
    )


def _eight_bits(base: LockedSource) -> list[str]:
    return [tensor.name for tensor in base.tensors if tensor.dtype == "F8_E4M3" and tensor.name.endswith(".weight")]


def _stem(tensor: LockedTensor) -> str:
    return tensor.name.rpartition(".")[0]


def quantization_place(spec: ResolvedSpec, recipe: Recipe | None) -> Location | str:
    """The location of the quantization in the recipe's file."""
    origins = spec.origins
    if origins is None and recipe is not None:  # a recipe loaded from the cache has no locations
        from mlxbuild.toolchain.spec.load import load

        origins = next((it.origins for it in load(recipe.path).variants() if it.variant == spec.variant), None)
    return (origins or {}).get("quantization", str(spec.recipe))
