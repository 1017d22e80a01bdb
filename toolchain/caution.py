"""Warnings about variants that can be built but probably should not be built as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlxbuild.toolchain.events.model import Warned
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.lock.settle import is_packed
from mlxbuild.toolchain.weights.formats.gguf_layout import second_rounding

_WHOLE_SCALES = ("weight_scale_2", "weight_global_scale")
"""Names of the per-tensor scale of NVFP4 weights."""


def cautions(variants: Iterable[LockedVariant]) -> Iterator[Warned]:
    """The warnings for some variants, in the order of the variants."""
    for variant in variants:
        spec = variant.spec
        for message in (_second_rounding(variant), _folded_scales(variant)):
            if message is not None:
                yield Warned(message, str((spec.origins or {}).get("quantization", spec.recipe)))


def _second_rounding(variant: LockedVariant) -> str | None:
    spec, base = variant.spec, variant.base
    if base.gguf is None:
        rounded = _quantized(variant)
    else:
        kind = second_rounding(spec, base.tensors)
        rounded = None if kind is None else f"numbers of {kind}"
    if rounded is None:
        return None
    return (
        f"`{spec.label}` rounds {rounded} a second time: `quantization: keep` holds them as they are, and the "
        "unquantized model quantized once is better than this"
    )


def _quantized(variant: LockedVariant) -> str | None:
    """A sentence about what a variant would quantize a second time, or None."""
    chosen, base = variant.spec.quantization, variant.base
    quantizes = chosen.scheme is not None or any(scheme is not None for _, scheme in chosen.overrides)
    is_quantized = is_packed(base) or any(tensor.dtype == "F8_E4M3" for tensor in base.tensors)
    return "weights that are quantized already" if quantizes and is_quantized else None


def _folded_scales(variant: LockedVariant) -> str | None:
    whole = any(tensor.name.endswith(_WHOLE_SCALES) for tensor in variant.base.tensors)
    if not whole or not variant.spec.quantization.keeps:
        return None
    return (
        f"`{variant.spec.label}` keeps NVFP4, whose scale of a whole tensor MLX's layers do not take: where it cannot "
        "be folded into the others exactly, these are rounded, which costs usual weights 3 to 9 % of a tensor "
        "(relative root mean square; over 10 % is an error), and how much it did is told when it is built; "
        "`quantization: bf16` decodes them without that"
    )
