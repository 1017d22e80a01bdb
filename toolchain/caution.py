"""What a person should know of a variant before it is built, though it can be built. Errors are raised elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from toolchain.events.model import Warned
from toolchain.graph.compile import LockedVariant
from toolchain.weights.formats.gguf_layout import second_rounding


def cautions(variants: Iterable[LockedVariant]) -> Iterator[Warned]:
    """Warnings for some variants, in their order."""
    for variant in variants:
        spec, base = variant.spec, variant.base
        rounded = None if base.gguf is None else second_rounding(spec, base.tensors)
        if rounded is not None:
            yield Warned(
                f"`{spec.label}` rounds numbers of {rounded} a second time: `quantization: keep` holds them as they "
                "are, and the unquantized model quantized once is better than this",
                str((spec.origins or {}).get("quantization", spec.recipe)),
            )
