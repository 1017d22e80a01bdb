"""The step kind for blocks in which modules are quantized."""

from __future__ import annotations

from mlxbuild.toolchain.steps.block import BlockStep


class QuantizeStep(BlockStep):
    """Arrange, cast, fuse and quantize."""

    kind = "quantize"
