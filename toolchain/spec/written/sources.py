"""The sources of weights, tokenizers and adapters in a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.written.form import (
    ArtifactName,
    BaseFolder,
    Choice,
    Folder,
    Form,
    GgufFile,
    Items,
    NonEmpty,
    OllamaModel,
    arm,
    mistake,
    pattern,
)

HubName = Annotated[
    str,
    pattern(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$",
        "expected owner/name of a Hugging Face repository",
    ),
]
Revision = Annotated[str, pattern(r"^[A-Za-z0-9][^\s\\~^:?*\[]{0,254}$", "expected a branch, a tag or a commit")]
HubGguf = Annotated[
    str,
    pattern(
        r"^([A-Za-z0-9_][A-Za-z0-9._ -]*/)*[A-Za-z0-9_][A-Za-z0-9._ -]*\.gguf$",
        "expected the path of a .gguf file in the repository",
    ),
]
Scale = Annotated[float, Field(ge=-100, le=100)]


class HubForm(Form):
    """A repository of the Hugging Face Hub."""

    hf_repo: HubName = Field(description="Repository on the Hub.", examples=["Qwen/Qwen3-0.6B"])
    revision: Revision | None = Field(None, description="Branch, tag or commit; default `main`. The lock pins it.")
    include: Items[NonEmpty] | None = Field(None, description="Globs of the files to take, instead of the default.")


class HubBaseForm(HubForm):
    """A repository of the Hugging Face Hub, or a GGUF file in it."""

    file: HubGguf | None = Field(
        None,
        description="GGUF file of the repository, instead of safetensors; of a split one the first part.",
        examples=["Qwen3-0.6B-Q4_K_M.gguf"],
    )

    @model_validator(mode="after")
    def _takes_one_file(self) -> Self:
        if self.file is not None and self.include is not None:
            raise mistake(
                Code.CHOICE,
                "`base` has both `file` and `include`",
                note="only a GGUF file is accepted",
                hint="keep one of them",
                key="include",
            )
        return self


class FolderForm(Form):
    """A folder beside the recipe."""

    path: Folder = Field(description="Folder, relative to the recipe; read in place.", examples=["./weights"])


class BaseFolderForm(Form):
    """A folder with a model."""

    path: BaseFolder = Field(
        description="Folder, relative to the recipe, or absolute if the recipe only has to work on this machine.",
        examples=["./weights"],
    )


class GgufForm(Form):
    """A GGUF file beside the recipe."""

    gguf: GgufFile = Field(
        description="GGUF file, relative to the recipe; of a split one the first part.",
        examples=["./Qwen3-0.6B-Q4_K_M.gguf"],
    )


class ArtifactForm(Form):
    """Another artifact."""

    from_: ArtifactName = Field(
        alias="from",
        description="Artifact to build on; its tokenizer, template and defaults hold unless overridden.",
        examples=["hello:int4@1.0"],
    )


class OllamaForm(Form):
    """A model of Ollama's registry."""

    ollama: OllamaModel = Field(
        description="Model as Ollama names it, [host/][namespace/]model[:tag]; the lock pins its manifest.",
        examples=["qwen3:0.6b"],
    )


class HubAdapterForm(HubForm):
    """A LoRA adapter on the Hub."""

    scale: Scale | None = Field(None, description="Multiplies the adapter's own scale; default 1.0.")


class FolderAdapterForm(FolderForm):
    """A LoRA adapter in a folder."""

    scale: Scale | None = Field(None, description="Multiplies the adapter's own scale; default 1.0.")


_BASE = Choice(
    "hf_repo",
    "path",
    "gguf",
    "from",
    "ollama",
    of="`base`",
    example="write base: {hf_repo: owner/model}, {path: ./folder} or {gguf: ./model.gguf}",
    beside=("revision", "include", "file"),
)
_TOKENIZER = Choice(
    "hf_repo",
    "path",
    of="`tokenizer`",
    example="write tokenizer: inherit, {path: ./folder} or {hf_repo: owner/model}",
    text=True,
    beside=("revision", "include"),
)
_ADAPTER = Choice(
    "hf_repo",
    "path",
    of="an adapter",
    example="write - {hf_repo: owner/adapter} or - {path: ./adapter}",
    beside=("revision", "include", "scale"),
)

Base = Annotated[
    Annotated[
        Annotated[HubBaseForm, arm("hf_repo")]
        | Annotated[BaseFolderForm, arm("path")]
        | Annotated[GgufForm, arm("gguf")]
        | Annotated[ArtifactForm, arm("from")]
        | Annotated[OllamaForm, arm("ollama")],
        Discriminator(_BASE.arm_of),
    ],
    BeforeValidator(_BASE.check),
]
Tokenizer = Annotated[
    Annotated[
        Annotated[Literal["inherit"], arm("text")]
        | Annotated[HubForm, arm("hf_repo")]
        | Annotated[FolderForm, arm("path")],
        Discriminator(_TOKENIZER.arm_of),
    ],
    BeforeValidator(_TOKENIZER.check),
]
AdapterForm = Annotated[
    Annotated[
        Annotated[HubAdapterForm, arm("hf_repo")] | Annotated[FolderAdapterForm, arm("path")],
        Discriminator(_ADAPTER.arm_of),
    ],
    BeforeValidator(_ADAPTER.check),
]
