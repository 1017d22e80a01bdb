"""The top level of a ModelSpec v1 recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, model_validator

from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.written.chat import DefaultsForm, MessageForm, PromptTemplateForm, TextOrFile
from mlxbuild.toolchain.spec.written.form import TAG_MARK, Form, Items, NonEmpty, TextFile, arm, mistake, pattern
from mlxbuild.toolchain.spec.written.gates import AnyGate
from mlxbuild.toolchain.spec.written.quantization import QuantizationValue
from mlxbuild.toolchain.spec.written.sources import AdapterForm, Base, Tokenizer

Name = Annotated[
    str,
    Field(max_length=63),
    pattern(r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", "expected lowercase letters and digits, joined by `.`, `_` or `-`"),
]
Version = Annotated[
    str, pattern(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$", "expected letters, digits, `.`, `_` and `-` (no `+`)")
]
_LICENSE_ID = r"\(*[A-Za-z0-9][A-Za-z0-9.+:-]*\)*"
License = Annotated[
    str,
    pattern(rf"^{_LICENSE_ID}( (AND|OR|WITH) {_LICENSE_ID})*$", "expected an SPDX expression, such as Apache-2.0"),
]


class LicenseForm(Form):
    """A license with its text files."""

    expression: License = Field(description="SPDX expression.", examples=["Apache-2.0"])
    files: Items[TextFile] | None = Field(None, description="License texts, relative to the recipe.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [PurePosixPath(file).name for file in self.files or ()]
        for name in names:
            if names.count(name) > 1:
                note = "the artifact keeps them side by side"
                raise mistake(Code.VALUE, f"two license files are called `{name}`", note=note, key="files")
        return self


LicenseValue = Annotated[
    Annotated[License, arm("text")] | Annotated[LicenseForm, arm("form")],
    Discriminator(lambda value: TAG_MARK + ("form" if isinstance(value, dict | Form) else "text")),
]


class VariantsForm(Form):
    """A matrix: every other key is an axis, a key of the recipe (dotted below the top) with a list of values."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Items[Any], Field(min_length=1)]]

    zip: Items[Annotated[Items[NonEmpty], Field(min_length=2)]] | None = Field(
        None, description="Groups of axes that advance together instead of being multiplied."
    )
    exclude: Items[Annotated[dict[str, Any], Field(min_length=1)]] | None = Field(
        None, description="Points to leave out: axis to value."
    )
    tag: NonEmpty | None = Field(
        None, description="Label of a variant; default all axes.", examples=["{quantization}-{defaults.context}"]
    )


class ModelSpec(Form):
    """A recipe for one model in one or more variants."""

    schema_: Literal["mlxbuild/v1"] | None = Field(None, alias="schema", description="Schema version of this file.")
    name: Name = Field(description="Name of the artifact, the last part of its repository.", examples=["hello"])
    version: Version = Field(description="Version, quoted.", examples=["1.0"])
    description: str | None = Field(None, description="One sentence for people.")
    license: LicenseValue | None = Field(None, description="SPDX expression, or with the license texts.")
    base: Base = Field(description="Where the weights come from: exactly one of hf_repo, path, gguf, from, ollama.")
    format: Literal["mlx"] | None = Field(None, description="Format of the weights; only mlx.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Type of the tensors that are not quantized; default as in the base."
    )
    quantization: QuantizationValue | None = Field(
        None, description="Quantization; default none, or keep for a GGUF file."
    )
    tokenizer: Tokenizer | None = Field(None, description="Default inherit, from the base.")
    adapters: Items[AdapterForm] | None = Field(
        None, description="LoRA adapters, fused in this order before quantizing."
    )
    prompt_template: PromptTemplateForm | None = Field(None, description="Chat template; default inherit.")
    system_prompt: TextOrFile | None = Field(None, description="Text, or {file: ...}.")
    messages: Items[MessageForm] | None = Field(None, description="Messages that precede every chat.")
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None, description="Pooling of token states to an embedding; default as in the base. The model then only embeds."
    )
    defaults: DefaultsForm | None = Field(None, description="Sampling parameters.")
    variants: VariantsForm | None = Field(None, description="Matrix of variants; default one.")
    tests: Items[AnyGate] | None = Field(None, description="Gates that must pass before a tag moves.")
    annotations: dict[str, str] | None = Field(None, description="Annotations of the artifact's manifest.")

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        """Remove `x-` keys, which are for the author's own use."""
        if isinstance(data, Mapping) and any(key.startswith("x-") for key in data):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data

    @model_validator(mode="after")
    def _cast_agrees(self) -> Self:
        cast = {"fp16": "float16", "bf16": "bfloat16"}.get(str(self.quantization))
        if cast is not None and self.dtype not in (None, cast):
            raise mistake(
                Code.QUANTIZATION,
                f"`dtype: {self.dtype}` contradicts `quantization: {self.quantization}`",
                note=f"{self.quantization} makes {cast}",
                hint="leave `dtype` out, or write quantization: none",
                key="dtype",
            )
        return self
