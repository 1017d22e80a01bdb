"""Declares every step kind and what its key depends on, without importing the steps: cached builds never load MLX."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from mlxbuild.toolchain.core.step import Step

Lane = Literal["work", "model"]
"""work: up to `jobs` at a time · model: one at a time, since it holds a whole model in memory."""


@dataclass(frozen=True, slots=True)
class StepKind:
    """The declaration of a step kind."""

    kind: str
    implementation: int
    """Bump it when output bytes may change; tests with golden keys enforce the decision."""
    tools: tuple[str, ...]
    """Distributions whose version may change the output bytes."""
    entry: str
    """The implementing class as `module:class`."""
    lane: Lane = "work"
    platform_sensitive: bool = False
    """Whether the result may depend on the machine's architecture."""

    def load(self) -> Step:
        """Import and instantiate the step."""
        module, name = self.entry.split(":")
        return cast(Step, getattr(importlib.import_module(module), name)())

    @property
    def platform(self) -> Mapping[str, str]:
        """The properties of the machine that enter the key."""
        return {"machine": platform.machine()} if self.platform_sensitive else {}


def _table(*kinds: StepKind) -> Mapping[str, StepKind]:
    return {kind.kind: kind for kind in kinds}


# In execution order, so that `why` names causes before their consequences.
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
