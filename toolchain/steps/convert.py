"""The step for blocks in which nothing is quantized."""

from __future__ import annotations

from mlxbuild.toolchain.steps.block import BlockStep


class ConvertStep(BlockStep):
    """Converts a block: arranges, casts and fuses its tensors."""

    kind = "convert"
