"""The step for blocks in which modules are quantized."""

from __future__ import annotations

from mlxbuild.toolchain.steps.block import BlockStep


class QuantizeStep(BlockStep):
    """Quantizes a block: arranges, casts, fuses and quantizes its tensors."""

    kind = "quantize"
