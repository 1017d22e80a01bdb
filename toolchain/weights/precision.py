"""Decides at which precision each module of a model is stored.

The rules are those of `mlx_lm.utils.quantize_model`, except that the recipe's settings are added to the architecture's
rules (routers at 8 bits, modules that must stay unquantized), which mlx-lm would replace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.overrides import Override, matching_override, names_exactly

_DEFAULTS: Final = {"affine": (64, 4), "mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}
"""Mode to default group size and bits, for rules that leave them out (`mlx.nn.layers.quantized`)."""

_Rule = Callable[[str, Any], Any]


class UnsuitableRecipe(UserError):
    """A mixed recipe cannot be applied to this architecture."""

    code = "unsuitable-recipe"


@dataclass(frozen=True, slots=True)
class Precision:
    """The recipe's settings, combined with the architecture's rules."""

    scheme: QuantizationScheme | None
    overrides: Sequence[Override]
    architecture_rule: _Rule | None
    recipe_rule: _Rule | None

    @classmethod
    def of(
        cls, model: Any, scheme: QuantizationScheme | None, recipe: str | None, overrides: Sequence[Override]
    ) -> Precision:
        """The precision for a model.

        Raises:
            UnsuitableRecipe: the mixed recipe does not fit the architecture or the scheme.
        """
        return cls(scheme, overrides, getattr(model, "quant_predicate", None), _recipe_rule(model, scheme, recipe))

    def of_module(self, path: str, module: Any, columns: int) -> QuantizationScheme | None:
        """The scheme for a leaf module whose weight has `columns` columns; None leaves it unquantized.

        Modules that an architecture forbids to quantize never are. An architecture's own precision for a module is only
        changed by an override with the module's full path. Rows not divisible by the group size stay unquantized.
        """
        if not hasattr(module, "to_quantized"):
            return None
        demanded = True if self.architecture_rule is None else self.architecture_rule(path, module)
        if not demanded:
            return None
        override = matching_override(self.overrides, path)
        if override is not None and (demanded is True or names_exactly(override[0])):
            return _fitting(override[1], columns)
        if self.scheme is None or columns % self.scheme.group_size:
            return None
        if demanded is True and self.recipe_rule is not None:
            demanded = self.recipe_rule(path, module)
        return self.scheme if demanded is True else _fitting(_scheme_of_rule(demanded), columns)


def _fitting(scheme: QuantizationScheme | None, columns: int) -> QuantizationScheme | None:
    return None if scheme is None or columns % scheme.group_size else scheme


def _scheme_of_rule(rule: Mapping[str, Any]) -> QuantizationScheme:
    mode = rule.get("mode", "affine")
    group_size, bits = _DEFAULTS[mode]
    return QuantizationScheme(mode, rule.get("bits") or bits, rule.get("group_size") or group_size)


def _recipe_rule(model: Any, scheme: QuantizationScheme | None, recipe: str | None) -> _Rule | None:
    if recipe is None:
        return None
    if scheme is None or scheme.mode != "affine":
        raise UnsuitableRecipe(f"the recipe `{recipe}` needs mode affine", hint="leave out `mode`, or the recipe")

    try:
        rule: _Rule = submodule("convert").mixed_quant_predicate_builder(recipe, model, scheme.group_size)
    except ValueError as error:
        raise UnsuitableRecipe(
            f"the recipe `{recipe}` cannot be applied to this architecture: {error}",
            hint="choose bits for single layers with `overrides` instead",
        ) from error
    return rule
