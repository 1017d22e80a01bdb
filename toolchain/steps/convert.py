"""The step kind for blocks in which nothing is quantized."""

from __future__ import annotations

from mlxbuild.toolchain.steps.block import BlockStep


class ConvertStep(BlockStep):
    """Arrange, cast and fuse."""

    kind = "convert"
