"""The quantization in a recipe: a name, or mode, bits and group size with a mixed recipe and overrides.

The valid combinations are those of `mx.quantize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Discriminator, Field, model_validator

from mlxbuild.registry.core.suggestions import either
from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.written.form import TAG_MARK, Form, arm, mistake, pattern

Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
SchemeName = Literal["int4", "int8", "mxfp4", "mxfp8", "nvfp4"]
QuantizationName = Literal["none", "keep", "fp16", "bf16", "int4", "int8", "mxfp4", "mxfp8", "nvfp4"]
Label = Annotated[
    str, pattern(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$", "expected at most 32 letters, digits, `.`, `_` and `-`")
]
OverrideName = Literal["none", "int4", "int8", "mxfp4", "mxfp8", "nvfp4"]

COMBINATIONS: dict[Mode, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((2, 3, 4, 5, 6, 8), (32, 64, 128)),
    "mxfp4": ((4,), (32,)),
    "mxfp8": ((8,), (32,)),
    "nvfp4": ((4,), (16,)),
}
"""Mode to its valid bits and group sizes."""
DEFAULT_BITS: dict[Mode, int] = {"affine": 4, "mxfp4": 4, "mxfp8": 8, "nvfp4": 4}
DEFAULT_GROUP_SIZE: dict[Mode, int] = {"affine": 64, "mxfp4": 32, "mxfp8": 32, "nvfp4": 16}


def _combinations_in_json_schema(schema: dict[str, Any]) -> None:
    schema["allOf"] = [
        {
            "if": {"properties": {"mode": {"const": mode}}, "required": ["mode"]} if mode != "affine" else _AFFINE,
            "then": {
                "properties": {
                    "bits": {"enum": [*bits, None]},
                    "group_size": {"enum": [*groups, None]},
                }
            },
        }
        for mode, (bits, groups) in COMBINATIONS.items()
    ]


_AFFINE = {"properties": {"mode": {"enum": ["affine", None]}}}


class SchemeForm(Form):
    """How weight matrices are quantized."""

    model_config = ConfigDict(json_schema_extra=_combinations_in_json_schema)

    mode: Mode | None = Field(None, description="Number format; default `affine`.")
    bits: int | None = Field(None, description="Bits per weight; default 4 (8 for mxfp8).")
    group_size: int | None = Field(None, description="Weights that share a scale; default 64 (affine).")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        mode = self.mode or "affine"
        written = {"bits": self.bits, "group_size": self.group_size}
        allowed = dict(zip(written, COMBINATIONS[mode], strict=True))
        wrong = [key for key, value in written.items() if value is not None and value not in allowed[key]]
        if wrong:
            said = " and ".join(f"`{key}: {written[key]}`" for key in wrong)
            takes = ", ".join(f"{key} {either(allowed[key])}" for key in wrong)
            raise mistake(
                Code.QUANTIZATION,
                f"{said} {'does' if len(wrong) == 1 else 'do'} not go with `mode: {mode}`",
                note=f"{mode} takes {takes}",
                key=wrong[0],
            )
        return self


def _form_or_text(value: Any) -> str:
    return TAG_MARK + ("form" if isinstance(value, Mapping | Form) else "text")


Override = Annotated[
    Annotated[OverrideName, arm("text")] | Annotated[SchemeForm, arm("form")], Discriminator(_form_or_text)
]


class QuantizationForm(SchemeForm):
    """The quantization of all weights, with exceptions."""

    label: Label | None = Field(
        None, description="Name of this quantization in labels of variants; by default derived from its settings."
    )
    recipe: Literal["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"] | None = Field(
        None, description="Mixed recipe of mlx-lm: low bits for most matrices, high bits for the sensitive ones."
    )
    overrides: dict[str, Override] | None = Field(
        None,
        description="Glob over module paths to the scheme of those modules, or `none`; the last match wins.",
        examples=[{"model.layers.0.*": "int8", "lm_head": "none"}],
    )

    @model_validator(mode="after")
    def _label_is_its_own(self) -> Self:
        if self.label in get_args(QuantizationName):
            note = f"`quantization: {self.label}` is called so"
            hint = f"choose one that no quantization has, such as `{self.label}x`"
            raise mistake(Code.QUANTIZATION, f"`{self.label}` cannot be a label", note=note, hint=hint, key="label")
        return self

    @model_validator(mode="after")
    def _recipe_is_affine(self) -> Self:
        if self.recipe is None:
            return self
        if self.mode not in (None, "affine"):
            raise mistake(
                Code.QUANTIZATION,
                f"`recipe: {self.recipe}` does not go with `mode: {self.mode}`",
                note="mixed recipes are affine",
                key="recipe",
            )
        low = int(self.recipe.split("_")[1])
        if self.bits not in (None, low):
            raise mistake(
                Code.QUANTIZATION,
                f"`bits: {self.bits}` does not go with `recipe: {self.recipe}`",
                note=f"{self.recipe} sets the bits",
                hint="leave `bits` out",
                key="bits",
            )
        return self


QuantizationValue = Annotated[
    Annotated[QuantizationName, arm("text")] | Annotated[QuantizationForm, arm("form")],
    Discriminator(_form_or_text),
]
