"""Every step kind with what its key needs, without importing the step: plans and cached builds load no MLX."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from mlxbuild.toolchain.core.step import Step

Lane = Literal["work", "model"]
"""work: as many at once as there are jobs · model: one at a time, since a whole model is in memory."""


@dataclass(frozen=True, slots=True)
class StepKind:
    """The declaration of a step kind."""

    kind: str
    implementation: int
    """Bump when output bytes may change; golden keys in the tests ask for it."""
    tools: tuple[str, ...]
    """Distributions whose version may change the bytes."""
    entry: str
    """`module:class` of the implementation."""
    lane: Lane = "work"
    platform_sensitive: bool = False
    """Whether the machine's architecture may change the result."""

    def load(self) -> Step:
        """Import and make the step."""
        module, name = self.entry.split(":")
        return cast(Step, getattr(importlib.import_module(module), name)())

    @property
    def platform(self) -> Mapping[str, str]:
        """What of the machine enters the key."""
        return {"machine": platform.machine()} if self.platform_sensitive else {}


def _table(*kinds: StepKind) -> Mapping[str, StepKind]:
    return {kind.kind: kind for kind in kinds}


# In the order in which they follow each other: what `why` tells begins with the cause.
STEPS: Mapping[str, StepKind] = _table(
    StepKind("convert", 1, ("mlx", "mlx-lm"), "mlxbuild.toolchain.steps.convert:ConvertStep"),
    StepKind("quantize", 1, ("mlx", "mlx-lm"), "mlxbuild.toolchain.steps.quantize:QuantizeStep"),
    StepKind("tokenizer", 2, (), "mlxbuild.toolchain.steps.tokenizer:TokenizerStep"),
    StepKind("template", 4, ("jinja2", "mlx-lm", "tokenizers"), "mlxbuild.toolchain.steps.template:TemplateStep"),
    StepKind("pack", 1, (), "mlxbuild.toolchain.steps.pack:PackStep"),
    StepKind(
        "measure",
        1,
        ("mlx", "mlx-lm"),
        "mlxbuild.toolchain.steps.measure:MeasureStep",
        lane="model",
        platform_sensitive=True,
    ),
    StepKind(
        "gate", 1, ("mlx", "mlx-lm"), "mlxbuild.toolchain.steps.gate:GateStep", lane="model", platform_sensitive=True
    ),
)
